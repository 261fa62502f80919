/** Stopping: who has no whole request in is not waited for. */
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import type { App } from './route.ts';

/** How long answers to whole requests may still take. What was not answered is sent again by its caller. */
const ANSWERS_MS_MAX = 2_000;
/** How often those that became whole, or were answered, are looked for. */
const LOOK_MS = 50;

/**
 * Closes, when the app stops, every connection that holds no whole request at once: one that says nothing, one that stopped
 * in the middle of a request, one that waits for its next. Answers that are being made have two seconds.
 */
export function drainOnClose(app: App): void {
  const connections = new Map<Socket, Set<IncomingMessage>>();
  const { server } = app;
  watch(server, connections);
  app.addHook('preClose', (done) => {
    const startedAtMs = performance.now();
    const look = (): void => {
      const isLate = performance.now() - startedAtMs > ANSWERS_MS_MAX;
      for (const [socket, requests] of connections) {
        const isWaitedFor = [...requests].some(({ complete }) => complete);
        if (!isWaitedFor || isLate) socket.destroy();
      }
    };
    look();
    const looking = setInterval(look, LOOK_MS);
    server.once('close', () => clearInterval(looking));
    if (!server.listening) clearInterval(looking);
    done();
  });
}

function watch(server: Server, connections: Map<Socket, Set<IncomingMessage>>): void {
  server.on('connection', (socket) => {
    connections.set(socket, new Set());
    socket.once('close', () => connections.delete(socket));
  });
  server.on('request', (request, response) => {
    connections.get(request.socket)?.add(request);
    response.once('close', () => connections.get(request.socket)?.delete(request));
  });
}

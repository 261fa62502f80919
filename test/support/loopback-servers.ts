/** Servers of a test's own, on ports of the loopback. */
import { createServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type Server, type Socket } from 'node:net';

/** Lends a server on a port that is free, and ends its connections afterwards. */
export async function withServer(server: Server, use: (port: number) => Promise<void>): Promise<void> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await use((server.address() as AddressInfo).port);
  } finally {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  }
}

/** What a proxy was asked for. */
export interface AskedProxy {
  readonly target: string;
  readonly authorization: string | undefined;
}

/** A proxy that takes CONNECT and leads every name to the loopback; tells what it was asked for. */
export function connectProxy(asked: AskedProxy[]): Server {
  const proxy = createServer((_request, response) => response.writeHead(405).end());
  proxy.on('connect', (request: IncomingMessage, client: Socket) => {
    asked.push({ target: request.url ?? '', authorization: request.headers['proxy-authorization'] });
    const server = connect({ port: Number(request.url?.split(':')[1]), host: '127.0.0.1' });
    server.once('connect', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      server.pipe(client).pipe(server);
    });
    for (const socket of [server, client]) socket.on('error', () => [server, client].forEach((end) => end.destroy()));
  });
  return proxy;
}

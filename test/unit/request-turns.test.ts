/** A crowd of requests is taken in turns, so that everything else of the process goes on meanwhile. */
import { createServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { REQUESTS_MS_MAX, takeRequestsInTurns } from '../../src/platform/http/request-turns.ts';

/** A server whose every request works longer than a turn; it notes in which turn of the event loop it was begun. */
async function withBusyServer(use: (lent: { port: number; begun: { path: string; turn: number }[] }) => Promise<void>) {
  const begun: { path: string; turn: number }[] = [];
  let turn = 0;
  let isOver = false;
  const count = (): void => {
    turn += 1;
    if (!isOver) setImmediate(count);
  };
  count();
  const server = createServer((request: IncomingMessage, response) => {
    begun.push({ path: request.url ?? '', turn });
    const endsAt = performance.now() + REQUESTS_MS_MAX + 1;
    while (performance.now() < endsAt);
    request.resume();
    response.end(request.url);
  });
  takeRequestsInTurns(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await use({ port: (server.address() as AddressInfo).port, begun });
  } finally {
    isOver = true;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

const requestOf = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`;

describe('requests that come in one piece', () => {
  it('are each begun in a turn of their own, in order, and all answered', () =>
    withBusyServer(async ({ port, begun }) => {
      const paths = Array.from({ length: 12 }, (_, index) => `/${index}`);
      const socket = connect(port, '127.0.0.1');
      socket.write(paths.map(requestOf).join(''));
      let answers = '';
      for await (const chunk of socket) {
        answers += String(chunk);
        if (answers.endsWith('/11')) break;
      }
      expect(begun.map(({ path }) => path)).toEqual(paths);
      expect(new Set(begun.map(({ turn }) => turn)).size).toBe(paths.length);
      expect(answers.match(/HTTP\/1\.1 200/g)).toHaveLength(paths.length);
    }));

  it('are not begun when their client is gone before their turn', () =>
    withBusyServer(async ({ port, begun }) => {
      const stays = connect(port, '127.0.0.1');
      const leaves = connect(port, '127.0.0.1');
      await Promise.all([stays, leaves].map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
      stays.write(Array.from({ length: 10 }, (_, index) => requestOf(`/stays/${index}`)).join(''));
      await new Promise<void>((resolve) => leaves.write(requestOf('/leaves'), () => resolve()));
      leaves.resetAndDestroy();
      for await (const chunk of stays) if (String(chunk).endsWith('/stays/9')) break;
      expect(begun.filter(({ path }) => path === '/leaves')).toEqual([]);
      expect(begun).toHaveLength(10);
    }));
});

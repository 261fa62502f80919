/** Requests that come all at once are taken in turns: a crowd must not hold up timers, heartbeats and answers. */
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import { assert } from '../errors.ts';

/**
 * Less than other work may take in a turn: what comes is parsed and read besides, and answers are written out. With 1,200
 * requests at once the event loop stands 22 to 87 ms, and 267 to 460 without turns (`scripts/bench eventloop`).
 */
export const REQUESTS_MS_MAX = 4;

interface Waiting {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/**
 * Has a server begin with requests for at most `REQUESTS_MS_MAX` in one turn of the event loop; the others wait for the
 * next, in their order. What was read of them by then stays in their stream. A client that is gone when its turn comes is
 * left out: nothing of its request was begun.
 */
export function takeRequestsInTurns(server: Server): void {
  const [handle, ...others] = server.listeners('request') as RequestListener[];
  assert(handle !== undefined && others.length === 0, 'A server has not exactly one listener of requests.');
  server.removeListener('request', handle);
  let waiting: Waiting[] = [];
  /** Undefined: no turn has begun. */
  let endsAt: number | undefined;
  const begin = (): number => performance.now() + REQUESTS_MS_MAX;
  const takeTurn = (): void => {
    endsAt = begin();
    let taken = 0;
    for (; taken < waiting.length && performance.now() < endsAt; taken += 1) {
      const { request, response } = waiting[taken] as Waiting;
      if (!request.socket.destroyed) handle.call(server, request, response);
    }
    waiting = waiting.slice(taken);
    if (waiting.length > 0) setImmediate(takeTurn);
    else endsAt = undefined;
  };
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    if (endsAt === undefined) {
      endsAt = begin();
      setImmediate(takeTurn);
    }
    if (waiting.length === 0 && performance.now() < endsAt) handle.call(server, request, response);
    else waiting.push({ request, response });
  });
}

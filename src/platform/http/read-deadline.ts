/** Every read ends: with its client, or after a time. */
import { DaemonError } from '../errors.ts';
import { inReadScope } from '../read-scope.ts';
import type { App } from './route.ts';

/** How long a request that only reads may take. */
export const READ_REQUEST_MS_MAX = 20_000;

/**
 * Binds what a GET under /v1 reads to its client and to a deadline. The hook comes after the guard: who a key belongs to
 * is asked once for all requests that bring it, and must not end with one of them.
 */
export function boundReadRequests(app: App, timeoutMs = READ_REQUEST_MS_MAX): void {
  app.addHook('preHandler', (request, reply, done) => {
    if (request.method !== 'GET' || !request.url.startsWith('/v1/')) {
      done();
      return;
    }
    const endsAtMs = performance.now() + timeoutMs;
    const ending = new AbortController();
    const timer = setTimeout(() => ending.abort(readTimedOut(timeoutMs)), timeoutMs);
    reply.raw.once('close', () => {
      clearTimeout(timer);
      // After the whole answer nothing is read any more.
      if (!reply.raw.writableFinished) ending.abort(clientGone());
    });
    inReadScope({ signal: ending.signal, leftMs: () => endsAtMs - performance.now() }, done);
  });
}

function readTimedOut(timeoutMs: number): DaemonError {
  return new DaemonError({
    kind: 'transient',
    code: 'read_timeout',
    message: `Reading took longer than ${timeoutMs / 1_000} s. Ask for a shorter range, or for one meter.`,
  });
}

function clientGone(): DaemonError {
  return new DaemonError({ kind: 'invalid', code: 'request_aborted', message: 'The client did not wait.' });
}

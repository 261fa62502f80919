/** What is told of requests: those that were refused, and every write that an administrator's key made. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Counter, type Registry } from 'prom-client';
import type { Clock } from '../clock.ts';
import { DaemonError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import { callerIfKnown, scopeOf } from './auth.ts';
import type { Problem } from './problem.ts';
import type { App } from './route.ts';

export interface RequestLogDeps {
  readonly log: Pick<Logger, 'info' | 'warn'>;
  readonly registry: Registry;
  readonly clock: Pick<Clock, 'now'>;
}

/** Anybody can be refused, and sent away, as often as they like: so many lines are written in a span, the rest is counted. */
const LINES_MAX = 20;
const SPAN_MS = 10_000;
const READS: readonly string[] = ['GET', 'HEAD', 'OPTIONS'];
const NO_ROUTE = 'unknown';

/** Writes one line for a refused request and one for an administrator's write, and counts both. */
export class RequestLog {
  readonly #deps: RequestLogDeps;
  readonly #refused: Counter<'route' | 'code'>;
  readonly #writes: Counter<'route' | 'status'>;
  readonly #refusedLines: BoundedLines;
  readonly #unservedLines: BoundedLines;

  constructor(deps: RequestLogDeps) {
    this.#deps = deps;
    this.#refusedLines = new BoundedLines(deps.clock);
    this.#unservedLines = new BoundedLines(deps.clock);
    const registers = [deps.registry];
    this.#refused = new Counter({
      name: 'tallystick_http_refused_total',
      help: 'Requests that were refused (4xx), by route and error code.',
      labelNames: ['route', 'code'],
      registers,
    });
    this.#writes = new Counter({
      name: 'tallystick_admin_writes_total',
      help: 'Writes that need the scope admin, by route and class of status.',
      labelNames: ['route', 'status'],
      registers,
    });
  }

  /** A request that was answered with a problem below 500. */
  refused(request: FastifyRequest, problem: Pick<Problem, 'status' | 'code'>, error?: unknown): void {
    const fields = fieldsOf(request, problem);
    this.#refused.inc({ route: fields.route, code: fields.code });
    this.#refusedLines.take((unsaid) =>
      this.#deps.log.info({ ...fields, key: keyOf(request, error), ...unsaid }, 'request refused'),
    );
  }

  /** A request that has to be sent again: a store is away, or there is too much of something. */
  unserved(request: FastifyRequest, problem: Pick<Problem, 'status' | 'code'>, error: unknown): void {
    this.#unservedLines.take((unsaid) =>
      this.#deps.log.warn({ ...fieldsOf(request, problem), err: error, ...unsaid }, 'request could not be served'),
    );
  }

  /** Any request that was answered: an administrator's write is told. */
  answered(request: FastifyRequest, reply: FastifyReply): void {
    const route = request.routeOptions.url;
    if (route === undefined || READS.includes(request.method)) return;
    if (scopeOf(request.routeOptions.schema?.security) !== 'admin') return;
    const key = keyOf(request);
    // Who may not write has been refused, and that was told.
    if (key === undefined || reply.statusCode === 403) return;
    this.#writes.inc({ route, status: `${Math.floor(reply.statusCode / 100)}xx` });
    const params = request.params as Record<string, string>;
    const fields = { requestId: request.id, method: request.method, route, ...(hasAny(params) && { params }) };
    this.#deps.log.info({ ...fields, status: reply.statusCode, key }, 'admin write');
  }
}

/** Lines of one kind, some of which are left out where they are many. */
class BoundedLines {
  readonly #clock: Pick<Clock, 'now'>;
  #endsAtMs = 0;
  #lines = 0;
  #unsaid = 0;

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock;
  }

  /** Has a line written, unless it is left out; it is given how many were left out before it. */
  take(write: (unsaid: { unsaid?: number }) => void): void {
    const nowMs = this.#clock.now();
    if (nowMs >= this.#endsAtMs) {
      this.#endsAtMs = nowMs + SPAN_MS;
      this.#lines = 0;
    }
    if (this.#lines >= LINES_MAX) {
      this.#unsaid += 1;
      return;
    }
    write(this.#unsaid > 0 ? { unsaid: this.#unsaid } : {});
    this.#lines += 1;
    this.#unsaid = 0;
  }
}

/** What every line about a request says. */
export function fieldsOf(
  request: FastifyRequest,
  { status, code }: Pick<Problem, 'status' | 'code'>,
): { requestId: string; method: string; route: string; status: number; code: string } {
  const route = request.routeOptions.url ?? NO_ROUTE;
  return { requestId: request.id, method: request.method, route, status, code };
}

/** Has an app tell of the writes of administrators. */
export function registerRequestLog(app: App, log: RequestLog): void {
  app.addHook('onResponse', (request, reply, done) => {
    log.answered(request, reply);
    done();
  });
}

/** What a key is recognised by: its first characters, or a part of its hash where it is not known. Never the key. */
function keyOf(request: FastifyRequest, error?: unknown): string | undefined {
  const refused = error instanceof DaemonError ? error.context['key'] : undefined;
  return typeof refused === 'string' ? refused : callerIfKnown(request)?.prefix;
}

function hasAny(params: Record<string, string> | undefined): boolean {
  return params !== undefined && Object.keys(params).length > 0;
}

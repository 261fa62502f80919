/** Builds the HTTP app; `daemon.ts` lets it listen. */
import { randomBytes } from 'node:crypto';
import { fastify, type FastifyReply, type FastifyRequest } from 'fastify';
import { parseJson, repeatedDetail, repeatedNames, TOO_DEEP } from '../exact-json.ts';
import { DaemonError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import { type AuthDeps, Authenticator, guardRoutes } from './auth.ts';
import { boundBodies } from './body-budget.ts';
import { answerClientError } from './client-error.ts';
import { drainOnClose } from './drain.ts';
import { type HealthDeps, registerHealth } from './health.ts';
import { type GaugeSource, type Metrics, registerMetrics } from './metrics.ts';
import { registerOpenApi } from './openapi.ts';
import { boundReadRequests } from './read-deadline.ts';
import { PROBLEM_MEDIA_TYPE, toAnswer, toProblem } from './problem.ts';
import { fieldsOf, RequestLog, registerRequestLog } from './request-log.ts';
import { takeRequestsInTurns } from './request-turns.ts';
import type { App, RouteRegistrar } from './route.ts';
import { SAFE_HEADERS } from './safe-headers.ts';
import { UnreadBodies } from './unread-body.ts';

export interface AppDeps {
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  readonly auth: AuthDeps;
  readonly health: HealthDeps;
  readonly metrics: Metrics;
  /** Figures for `/metrics` that other folders know. */
  readonly gauges?: readonly GaugeSource[];
  /** The routes under /v1. */
  readonly routes: readonly RouteRegistrar[];
  /** The token that a scrape of `/metrics` has to bring; undefined: it is open. */
  readonly metricsBearer?: string | undefined;
  readonly bodyBytesMax: number;
  /** A request that has not arrived completely after this long is answered 408. */
  readonly requestTimeoutMs: number;
  /** How long a request that only reads may take; `READ_REQUEST_MS_MAX` when absent. */
  readonly readRequestMsMax?: number;
  /** Shown in the OpenAPI document. */
  readonly version: string;
}

/** Idle time after which a connection is closed; a little more than a load balancer's usual 60 s. */
const KEEP_ALIVE_MS = 65_000;
/** Silence on a connection with a request, which may wait that long for its answer. */
const CONNECTION_MS_MAX = 120_000;
/** Connections at once; a further one is closed. Each may hold a request whose headers have not arrived completely. */
export const CONNECTIONS_MAX = 1_000;
/** How often slow requests are looked for. */
const CHECKS_MS_MAX = 2_000;
/** A customer id has 255 bytes, each of which takes three characters in a path. */
const PARAMETER_LENGTH_MAX = 255 * 3;

/**
 * An app with every route, ready to listen or to `inject`.
 * @throws DaemonError `defect` when a route under /v1 does not say who may call it.
 */
export async function buildApp(deps: AppDeps): Promise<App> {
  const requests = new RequestLog({ log: deps.log, registry: deps.metrics.registry, clock: deps.auth.clock });
  const refuser: Refuser = { log: deps.log, requests, unread: new UnreadBodies() };
  const app = createApp(deps, refuser);
  app.setErrorHandler((error, request, reply) => sendError(refuser, { error, request, reply }));
  app.setNotFoundHandler((request, reply) => {
    const detail = `There is no ${request.method} ${request.url.slice(0, 200).split('?', 1)[0] ?? ''}.`;
    const problem = toProblem({ code: 'route_not_found', status: 404, detail, requestId: request.id });
    requests.refused(request, problem);
    return reply.code(404).type(PROBLEM_MEDIA_TYPE).send(JSON.stringify(problem));
  });
  takeEmptyJson(app);
  takeRequestsInTurns(app.server);
  drainOnClose(app);
  app.addHook('onRequest', (request, reply, done) => {
    reply.headers({ ...SAFE_HEADERS, 'x-request-id': request.id });
    done();
  });
  registerRequestLog(app, requests);
  guardRoutes(app, new Authenticator(deps.auth));
  boundReadRequests(app, deps.readRequestMsMax);
  boundBodies(app, deps.bodyBytesMax);
  app.server.maxConnections = CONNECTIONS_MAX;
  await registerOpenApi(app, deps.version);
  for (const gauge of deps.gauges ?? []) deps.metrics.addGauge(gauge);
  registerMetrics(app, deps.metrics, deps.metricsBearer);
  registerHealth(app, deps.health, deps.version);
  for (const register of deps.routes) register(app);
  await app.ready();
  return app;
}

/** What answers errors. */
interface Refuser {
  readonly log: AppDeps['log'];
  readonly requests: RequestLog;
  readonly unread: UnreadBodies;
}

function createApp(deps: AppDeps, refuser: Refuser): App {
  const prefix = randomBytes(6).toString('base64url');
  let count = 0;
  return fastify({
    logger: false,
    bodyLimit: deps.bodyBytesMax,
    requestTimeout: deps.requestTimeoutMs,
    connectionTimeout: CONNECTION_MS_MAX,
    keepAliveTimeout: KEEP_ALIVE_MS,
    http: {
      requestTimeout: deps.requestTimeoutMs,
      headersTimeout: deps.requestTimeoutMs,
      connectionsCheckingInterval: Math.min(CHECKS_MS_MAX, Math.ceil(deps.requestTimeoutMs / 4)),
    },
    routerOptions: { maxParamLength: PARAMETER_LENGTH_MAX },
    exposeHeadRoutes: false,
    ajv: {
      customOptions: {
        coerceTypes: false,
        removeAdditional: false,
        useDefaults: false,
        allErrors: false,
        verbose: true,
      },
    },
    genReqId: () => `${prefix}-${(count += 1).toString(36)}`,
    clientErrorHandler: answerClientError,
    frameworkErrors: (error, request, reply) => {
      void sendError(refuser, { error, request, reply });
    },
  });
}

/** An empty JSON body is no body: routes with an optional one need no special client. */
function takeEmptyJson(app: App): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeContentTypeParser('application/json');
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') done(null, undefined);
    else if (isExactJson(body as string)) void parse(request, body as string, done);
  });
}

/**
 * Whether each name stands once: `{"dryRun": true, "dryRun": false}` is refused, not read as one of them. What is no JSON
 * is left to the parser, which also refuses names that reach into prototypes.
 * @throws DaemonError `json_too_deep`, `field_repeated`
 */
function isExactJson(text: string): boolean {
  const json = parseJson(text);
  if ('fault' in json) {
    if (json.fault === 'not-json') return true;
    throw new DaemonError({ kind: 'invalid', code: 'json_too_deep', message: TOO_DEEP });
  }
  if (json.isExact) return true;
  const [repeated] = repeatedNames(text, 0).parts;
  const message = repeatedDetail(repeated?.name ?? '');
  throw new DaemonError({ kind: 'invalid', code: 'field_repeated', message });
}

function sendError(
  { log, requests, unread }: Refuser,
  failed: { error: unknown; request: FastifyRequest; reply: FastifyReply },
): FastifyReply {
  const { error, request, reply } = failed;
  const { problem, retryAfterSeconds } = toAnswer(error, request.id);
  if (problem.status === 500) log.error({ ...fieldsOf(request, problem), err: error }, 'request failed');
  else if (problem.status >= 500) requests.unserved(request, problem, error);
  else requests.refused(request, problem, error);
  if (retryAfterSeconds !== undefined) reply.header('retry-after', retryAfterSeconds);
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer');
  unread.drain(request, reply);
  return reply.code(problem.status).type(PROBLEM_MEDIA_TYPE).send(JSON.stringify(problem));
}

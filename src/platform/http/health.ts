/** `/livez` and `/readyz`. */
import { Type } from 'typebox';
import { within } from '../time-limit.ts';
import type { App } from './route.ts';

/** How a thing that this process works with was found. */
export type CheckState =
  | 'ok'
  /** It does not answer. */
  | 'away'
  /** It answers and takes no writes. */
  | 'refuses_writes'
  /** It answers, and what should have been done was not. */
  | 'late';

export interface CheckResult {
  readonly state: CheckState;
  /** A code that says why. */
  readonly reason?: string;
}

/** A store or service that this process works with. */
export interface HealthCheck {
  readonly name: string;
  /** Whether the process is not ready without it. */
  readonly needed: boolean;
  /** Looks; rejects when it is away, and may say more than that it is well. */
  check(): Promise<CheckResult | void>;
}

export interface HealthDeps {
  /** Whether the process is being stopped and wants no more requests. */
  isDraining(): boolean;
  readonly checks: readonly HealthCheck[];
}

const CHECK_MS_MAX = 2_500;

const readinessSchema = Type.Object({
  status: Type.Union(
    [Type.Literal('ready'), Type.Literal('degraded'), Type.Literal('draining'), Type.Literal('not_ready')],
    { description: '`degraded`: requests are taken and nothing is lost, but work stands still.' },
  ),
  checks: Type.Record(
    Type.String(),
    Type.Union([Type.Literal('ok'), Type.Literal('away'), Type.Literal('refuses_writes'), Type.Literal('late')]),
  ),
  reasons: Type.Optional(
    Type.Record(Type.String(), Type.String(), { description: 'Why a check is not ok, as a code, where it is known.' }),
  ),
});

export function registerHealth(app: App, deps: HealthDeps, version: string): void {
  const livez = {
    summary: 'Whether the process runs',
    tags: ['operation'],
    response: { 200: Type.Object({ status: Type.Literal('ok'), version: Type.String() }) },
  };
  app.get('/livez', { schema: livez }, () => ({ status: 'ok' as const, version }));

  const readyz = {
    summary: 'Whether the process takes requests',
    tags: ['operation'],
    response: { 200: readinessSchema, 503: readinessSchema },
  };
  let running: Promise<Readiness> | undefined;
  app.get('/readyz', { schema: readyz }, async (_request, reply) => {
    running ??= readReadiness(deps).finally(() => {
      running = undefined;
    });
    const readiness = await running;
    const takesRequests = readiness.status === 'ready' || readiness.status === 'degraded';
    return reply.code(takesRequests ? 200 : 503).send(readiness);
  });
}

interface Readiness {
  status: 'ready' | 'degraded' | 'draining' | 'not_ready';
  checks: Record<string, CheckState>;
  reasons?: Record<string, string>;
}

async function readReadiness(deps: HealthDeps): Promise<Readiness> {
  const results = await Promise.all(deps.checks.map(async (target) => ({ ...target, ...(await look(target)) })));
  const isMissing = results.some(({ needed, state }) => needed && state !== 'ok');
  const isDegraded = results.some(({ state }) => state !== 'ok');
  const reasons = results.flatMap(({ name, reason }) => (reason === undefined ? [] : [[name, reason] as const]));
  return {
    status: deps.isDraining() ? 'draining' : isMissing ? 'not_ready' : isDegraded ? 'degraded' : 'ready',
    checks: Object.fromEntries(results.map(({ name, state }) => [name, state])),
    ...(reasons.length > 0 && { reasons: Object.fromEntries(reasons) }),
  };
}

async function look(target: HealthCheck): Promise<CheckResult> {
  try {
    return (await within(CHECK_MS_MAX, target.check(), () => ({ state: 'away' as const }))) ?? { state: 'ok' };
  } catch {
    return { state: 'away' };
  }
}

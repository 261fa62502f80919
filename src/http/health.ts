/** `/livez` and `/readyz`. */
import { Type } from 'typebox';
import { within } from './metrics.ts';
import type { App } from './route.ts';

/** A store or service that this process works with. */
export interface HealthCheck {
  readonly name: string;
  /** Whether the process is not ready without it. */
  readonly needed: boolean;
  /** Rejects when it is away. */
  check(): Promise<unknown>;
}

export interface HealthDeps {
  /** Whether the process is being stopped and wants no more requests. */
  isDraining(): boolean;
  readonly checks: readonly HealthCheck[];
}

const CHECK_MS_MAX = 2_000;

const readinessSchema = Type.Object({
  status: Type.Union([Type.Literal('ready'), Type.Literal('draining'), Type.Literal('not_ready')]),
  checks: Type.Record(Type.String(), Type.Union([Type.Literal('ok'), Type.Literal('away')])),
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
    return reply.code(readiness.status === 'ready' ? 200 : 503).send(readiness);
  });
}

interface Readiness {
  status: 'ready' | 'draining' | 'not_ready';
  checks: Record<string, 'ok' | 'away'>;
}

async function readReadiness(deps: HealthDeps): Promise<Readiness> {
  const states = await Promise.all(
    deps.checks.map(async (target) => {
      try {
        await within(CHECK_MS_MAX, target.check());
        return 'ok';
      } catch {
        return 'away';
      }
    }),
  );
  const isMissing = deps.checks.some(({ needed }, index) => needed && states[index] === 'away');
  return {
    status: deps.isDraining() ? 'draining' : isMissing ? 'not_ready' : 'ready',
    checks: Object.fromEntries(deps.checks.map(({ name }, index) => [name, states[index] ?? 'away'])),
  };
}

import type { CheckResult, HealthCheck } from '../platform/http/health.ts';
import type { RedisWatch } from '../platform/redis/redis-watch.ts';
import type { JobParts } from './job-parts.ts';
import { readStandstill } from './read-needs-review.ts';

/** `/readyz` needs no key: however often it is asked, the stores are asked this seldom. */
const REMEMBERED_MS = 1_000;
const WORK_REMEMBERED_MS = 5_000;

/** What `/readyz` looks at: a write to each store, and work that was done or that waits. */
export function healthChecks(parts: JobParts, watch: RedisWatch): HealthCheck[] {
  const { stores, config, clock } = parts;
  const remember = <T>(ageMsMax: number, read: () => Promise<T>): (() => Promise<T>) => {
    let last: { atMs: number; result: Promise<T> } | undefined;
    return () => {
      if (last === undefined || clock.now() - last.atMs > ageMsMax) {
        const entry = { atMs: clock.now(), result: read() };
        last = entry;
        // What failed is not believed for longer than it took.
        entry.result.catch(() => (last = last === entry ? undefined : last));
      }
      return last.result;
    };
  };
  return [
    { name: 'mongodb', needed: true, check: remember(REMEMBERED_MS, () => stores.heartbeats.proveMajority()) },
    { name: 'redis', needed: false, check: remember(REMEMBERED_MS, () => checkRedis(watch)) },
    {
      name: 'work',
      needed: false,
      check: remember(WORK_REMEMBERED_MS, async (): Promise<CheckResult> => {
        const [first] = await readStandstill({ stores, config, nowMs: clock.now() });
        return first === undefined ? { state: 'ok' } : { state: 'late', reason: first.kind };
      }),
    },
  ];
}

async function checkRedis(watch: RedisWatch): Promise<CheckResult> {
  const outcome = await watch.look();
  if (outcome.kind === 'ok') return { state: 'ok' };
  return outcome.kind === 'away' ? { state: 'away' } : { state: 'refuses_writes', reason: outcome.code };
}

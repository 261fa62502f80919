/** The submitting job in a process of its own, so that its memory can be read. */
import { setMaxListeners } from 'node:events';
import { systemClock } from '../../../src/platform/clock.ts';
import { loadConfig } from '../../../src/config.ts';
import { ATTEMPT_SPAN_MS_MAX } from '../../../src/submissions/submission.ts';
import { createLogger } from '../../../src/platform/logger.ts';
import { openRedis } from '../../../src/platform/redis/connection.ts';
import { openDatabase } from '../../../src/platform/mongo/database.ts';
import { jobHandlers } from '../../../src/daemon/job-handlers.ts';
import { openStores } from '../../../src/daemon/stores.ts';
import { openStripeSide } from '../../../src/daemon/stripe-side.ts';
import type { RoleWork } from '../child.ts';

export interface JobOrder {
  /** Is run until nothing waits in the outbox, however late it is due. */
  readonly job: string;
}

export interface JobCost {
  /** The waits for what is due later included. */
  readonly elapsedMs: number;
}

/** Between two runs, where the first left what is due to the second: Stripe was away. */
const WAIT_MS_MIN = 1_000;

export async function startSubmitter(): Promise<RoleWork> {
  const config = loadConfig();
  const clock = systemClock;
  const log = createLogger({ level: 'error' });
  const database = openDatabase({ uri: config.mongodbUri, name: config.mongodbDatabase });
  const redis = openRedis(config.redisUrl, () => {});
  const parts = {
    config,
    stores: openStores(database, { ...config, holder: 'bench', clock, log }),
    stripe: openStripeSide(config, redis, clock),
    installation: 'bench001',
    clock,
    log,
  };
  const nextDueAtMs = (): Promise<number | undefined> =>
    parts.stores.outboxEntries.nextDueAtMs(clock.now() - ATTEMPT_SPAN_MS_MAX);
  const answer = async ({ job }: JobOrder): Promise<JobCost> => {
    const handler = jobHandlers(parts)[job];
    if (handler === undefined) throw new Error(`no job is named ${job}`);
    const { signal } = new AbortController();
    // Any number of calls may wait on it for their share of the pace, as in the daemon.
    setMaxListeners(0, signal);
    const startedAt = performance.now();
    await handler({ input: {}, signal });
    for (let dueAtMs = await nextDueAtMs(); dueAtMs !== undefined; dueAtMs = await nextDueAtMs()) {
      await clock.sleep(Math.max(dueAtMs - clock.now(), WAIT_MS_MIN));
      await handler({ input: {}, signal });
    }
    return { elapsedMs: performance.now() - startedAt };
  };
  return {
    ready: null,
    answer: (order) => answer(order as JobOrder),
    stop: async () => {
      redis.disconnect();
      await database.close();
    },
  };
}

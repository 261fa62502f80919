/** The submitting job in a process of its own, so that its memory can be read. */
import { systemClock } from '../../../src/clock.ts';
import { loadConfig } from '../../../src/config.ts';
import { DELIVERED_STATES } from '../../../src/domain/submission.ts';
import { createLogger } from '../../../src/logger.ts';
import { openRedis } from '../../../src/redis/connection.ts';
import { openDatabase } from '../../../src/storage/database.ts';
import { METER_SUBMISSIONS } from '../../../src/storage/meter-submissions.ts';
import { jobHandlers } from '../../../src/wiring/job-handlers.ts';
import { openStores } from '../../../src/wiring/stores.ts';
import { openStripeSide } from '../../../src/wiring/stripe-side.ts';
import type { RoleWork } from './child.ts';

export interface JobOrder {
  readonly job: string;
  /** The job is run until this many submissions are delivered, or for minutes there is nothing to call for. */
  readonly submissions: number;
}

export interface JobCost {
  readonly elapsedMs: number;
  readonly delivered: number;
}

const IDLE_MS = 2_000;
const IDLE_MAX = 60;

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
  const answer = async ({ job, submissions }: JobOrder): Promise<JobCost> => {
    const handler = jobHandlers(parts)[job];
    if (handler === undefined) throw new Error(`no job is named ${job}`);
    const delivered = (): Promise<number> =>
      database.db.collection(METER_SUBMISSIONS).countDocuments({ state: { $in: DELIVERED_STATES } });
    const startedAt = performance.now();
    let count = 0;
    let idle = 0;
    do {
      const result = await handler({ input: {}, signal: new AbortController().signal });
      count = await delivered();
      idle = result['calls'] === 0 ? idle + 1 : 0;
      // A retry may be due only later.
      if (idle > 0) await clock.sleep(IDLE_MS);
    } while (count < submissions && idle < IDLE_MAX);
    return { elapsedMs: performance.now() - startedAt, delivered: count };
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

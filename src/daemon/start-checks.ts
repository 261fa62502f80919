import type { Config } from '../config.ts';
import { configurationInvalid } from '../platform/errors.ts';
import type { Logger } from '../platform/logger.ts';
import { probeRedis } from '../platform/redis/redis-probe.ts';
import type { Database } from '../platform/mongo/database.ts';
import { requireLedger } from '../platform/mongo/deployment.ts';
import { ensureIndexes } from './indexes-store.ts';

/**
 * Asks the stores whether they are what the settings say, before anything is begun, and makes the indexes. MongoDB has to
 * answer; Redis may be away, and then is told of in the log.
 * @throws DaemonError `configuration_invalid` that names the setting and what to do; `store_unavailable`.
 */
export async function prepareStores(config: Config, database: Database, log: Logger): Promise<void> {
  await requireLedger(database.db);
  const redis = await probeRedis(config.redisUrl);
  if (redis.kind === 'refused') throw configurationInvalid([{ name: 'REDIS_URL', detail: redis.detail }]);
  if (redis.kind === 'away') {
    const { reason } = redis;
    log.warn({ setting: 'REDIS_URL', reason }, 'redis does not answer; work waits in mongodb until it does');
  }
  await ensureIndexes(database.db, (fault) => log.warn(fault, 'an index had other options and is made anew'));
}

import { Redis } from 'ioredis';

/** Commands of producers fail fast when Redis is away: nothing that matters waits for it. */
const COMMAND_MS_MAX = 2_000;
const RECONNECT_MS_MAX = 2_000;

/** A connection for short commands. It connects by itself, for ever, and never blocks the start. */
export function openRedis(url: string, onError: (error: Error) => void): Redis {
  const redis = new Redis(url, {
    lazyConnect: false,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 1,
    commandTimeout: COMMAND_MS_MAX,
    retryStrategy: (times) => Math.min(100 * 2 ** Math.min(times, 5), RECONNECT_MS_MAX),
  });
  redis.on('error', onError);
  return redis;
}

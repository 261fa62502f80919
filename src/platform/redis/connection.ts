/** The one place that opens Redis: every connection has a limit on silence, on connecting and on how it tries again. */
import { Redis, type RedisOptions } from 'ioredis';

/** Commands of producers fail fast when Redis is away: nothing that matters waits for it. */
const COMMAND_MS_MAX = 2_000;
const CONNECT_MS_MAX = 5_000;
const RECONNECT_MS_MAX = 2_000;
/** An idle connection is probed by the kernel after this long, and given up after ten seconds more. */
const KEEP_ALIVE_MS = 10_000;
/** Commands that wait for an answer and hear nothing for so long: the connection is made anew. */
const SILENCE_MS_MAX = 5_000;
/** A worker blocks on one command for up to 10 s, in which silence says nothing. */
const BLOCKING_SILENCE_MS_MAX = 15_000;
/** The answer of a replica: the address may lead to another server by now. */
const READONLY = /\bREADONLY\b/;

/**
 * A peer that keeps the connection and says nothing (a failed-over master behind an address, a dropped entry in a
 * firewall's table) is known by its silence alone: TCP waits for a quarter of an hour.
 */
function limits(silenceMsMax: number) {
  return {
    connectTimeout: CONNECT_MS_MAX,
    keepAlive: KEEP_ALIVE_MS,
    socketTimeout: silenceMsMax,
    retryStrategy: (times: number) => Math.min(100 * 2 ** Math.min(times, 5), RECONNECT_MS_MAX),
    reconnectOnError: (error: Error) => READONLY.test(error.message),
  } satisfies RedisOptions;
}

/** A connection for short commands. It connects by itself, for ever, and never blocks the start. */
export function openRedis(url: string, onError: (error: Error) => void): Redis {
  return heard(
    new Redis(url, {
      ...limits(SILENCE_MS_MAX),
      lazyConnect: false,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 1,
      commandTimeout: COMMAND_MS_MAX,
    }),
    onError,
  );
}

/**
 * A connection of the queue, which keeps its commands while Redis is away and reconnects for ever.
 * @param use `blocking` for a worker, whose connections wait for work.
 */
export function openQueueRedis(url: string, use: 'adding' | 'blocking', onError: (error: Error) => void): Redis {
  const silenceMsMax = use === 'blocking' ? BLOCKING_SILENCE_MS_MAX : SILENCE_MS_MAX;
  return heard(new Redis(url, { ...limits(silenceMsMax), maxRetriesPerRequest: null }), onError);
}

/** Lends a connection for one look, without any second try. @throws the connection's error when there is no answer. */
export async function withRedisOnce<T>(url: string, look: (redis: Redis) => Promise<T>): Promise<T> {
  let reason: Error | undefined;
  const redis = heard(
    new Redis(url, {
      ...limits(SILENCE_MS_MAX),
      lazyConnect: true,
      connectTimeout: COMMAND_MS_MAX,
      commandTimeout: COMMAND_MS_MAX,
      maxRetriesPerRequest: 0,
      // What is looked at may be what the check would need.
      enableReadyCheck: false,
      retryStrategy: () => null,
      reconnectOnError: () => false,
    }),
    (error) => {
      reason ??= error;
    },
  );
  try {
    await redis.connect();
    return await look(redis);
  } catch (error) {
    throw reason ?? error;
  } finally {
    redis.disconnect();
  }
}

function heard(redis: Redis, onError: (error: Error) => void): Redis {
  redis.on('error', onError);
  return redis;
}

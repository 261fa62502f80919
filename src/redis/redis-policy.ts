import { Redis } from 'ioredis';

const CONNECT_MS_MAX = 3_000;

/**
 * What the server does when its memory is full, such as `noeviction`; undefined when it does not tell. Managed servers
 * often refuse CONFIG, so INFO is asked next.
 * @throws the connection's error when the server does not answer.
 */
export async function readMemoryPolicy(url: string): Promise<string | undefined> {
  const redis = new Redis(url, {
    lazyConnect: true,
    connectTimeout: CONNECT_MS_MAX,
    commandTimeout: CONNECT_MS_MAX,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  let reason: Error | undefined;
  redis.on('error', (error: Error) => {
    reason = error;
  });
  try {
    await redis.connect();
    return (await readConfig(redis)) ?? (await readInfo(redis));
  } catch (error) {
    throw reason ?? error;
  } finally {
    redis.disconnect();
  }
}

async function readConfig(redis: Redis): Promise<string | undefined> {
  try {
    const [, policy] = await redis.config('GET', 'maxmemory-policy');
    return policy;
  } catch {
    return undefined;
  }
}

async function readInfo(redis: Redis): Promise<string | undefined> {
  const info = await redis.info('memory');
  return /^maxmemory_policy:(\S+)/m.exec(info)?.[1];
}

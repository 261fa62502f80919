import type { Redis } from 'ioredis';

/**
 * What the server does when its memory is full, such as `noeviction`; undefined when it does not tell. Managed servers
 * often refuse CONFIG, so INFO is asked next.
 * @throws the connection's error when the server does not answer.
 */
export async function readMemoryPolicy(redis: Redis): Promise<string | undefined> {
  return (await readConfig(redis)) ?? (await readInfo(redis));
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

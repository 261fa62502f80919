import type { Redis } from 'ioredis';
import { withRedisOnce } from './connection.ts';

/** What BullMQ needs. */
const VERSION_MIN = [6, 2] as const;

/** What Redis says to the address we were given. */
export type RedisProbe =
  | { readonly kind: 'taken' }
  /** It answers, and not as the daemon needs it: as a clause that follows the name of the setting. */
  | { readonly kind: 'refused'; readonly detail: string }
  /** It does not answer. */
  | { readonly kind: 'away'; readonly reason: string };

/**
 * Asks once whether Redis takes our user and password, has the database that the address names, and is new enough. The
 * package itself goes on with database 0 when another one is refused, and for ever tries a password that is wrong.
 */
export async function probeRedis(url: string): Promise<RedisProbe> {
  const address = new URL(url);
  const database = Number(address.pathname.slice(1));
  address.pathname = '';
  try {
    return await withRedisOnce(address.href, async (redis) => {
      await redis.ping();
      await redis.select(database);
      return judgeVersion(await readVersion(redis));
    });
  } catch (error) {
    return judge(error, database);
  }
}

function judge(error: unknown, database: number): RedisProbe {
  const text = error instanceof Error ? error.message : String(error);
  if (/^(?:WRONGPASS|NOAUTH)|invalid password/i.test(text)) {
    return { kind: 'refused', detail: 'has a user or a password that Redis refuses, or lacks them' };
  }
  if (text.startsWith('NOPERM'))
    return { kind: 'refused', detail: `names a user that Redis allows too little: ${text}` };
  if (/index is out of range|SELECT is not allowed/i.test(text)) {
    return { kind: 'refused', detail: `names database ${database}, which this Redis does not have` };
  }
  return { kind: 'away', reason: text };
}

/** Undefined where the server does not tell: it is then taken as it is. */
async function readVersion(redis: Redis): Promise<string | undefined> {
  try {
    return /^redis_version:(\S+)/m.exec(await redis.info('server'))?.[1];
  } catch {
    return undefined;
  }
}

function judgeVersion(version: string | undefined): RedisProbe {
  const [major, minor] = (version ?? '').split('.').map(Number);
  if (major === undefined || minor === undefined || Number.isNaN(major + minor)) return { kind: 'taken' };
  const [majorMin, minorMin] = VERSION_MIN;
  if (major > majorMin || (major === majorMin && minor >= minorMin)) return { kind: 'taken' };
  return { kind: 'refused', detail: `names a Redis ${version}: ${majorMin}.${minorMin} or newer is needed` };
}

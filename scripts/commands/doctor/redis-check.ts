import { readMemoryPolicy } from '../../../src/redis/redis-policy.ts';
import { EXIT } from '../../lib/exit-codes.ts';
import type { CheckContext, Problem } from './check.ts';

/** Redis answers, and throws nothing away when its memory is full. */
export async function checkRedis({ config }: CheckContext): Promise<Problem[]> {
  let policy: string | undefined;
  try {
    policy = await readMemoryPolicy(config.redisUrl);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return [{ what: `no answer: ${why}`, todo: 'start Redis, or correct REDIS_URL', exitCode: EXIT.dependencyDown }];
  }
  if (policy === undefined || policy === 'noeviction') return [];
  return [
    {
      what: `its maxmemory-policy is ${policy}: queued jobs can vanish`,
      todo: 'set maxmemory-policy noeviction (redis-cli config set maxmemory-policy noeviction, and in its file)',
      exitCode: EXIT.failure,
    },
  ];
}

import { queuePrefix } from '../../../src/platform/queue/job-queue.ts';
import { withRedisOnce } from '../../../src/platform/redis/connection.ts';
import { readMemoryPolicy } from '../../../src/platform/redis/redis-policy.ts';
import { probeKey, probeWrite } from '../../../src/platform/redis/write-probe.ts';
import { EXIT } from '../../lib/exit-codes.ts';
import type { CheckContext, Problem } from './check.ts';

/** What helps against a refusal, by its code. */
const ADVICE: Readonly<Record<string, string>> = {
  OOM: 'its memory is full: raise maxmemory, or look what else fills it (redis-cli info memory)',
  READONLY: 'it is a replica: correct REDIS_URL, or wait until the failover is over',
  MISCONF: 'its last snapshot failed: make room on its disk, or see its log (redis-cli lastsave, bgsave)',
  LOADING: 'it loads its data: wait',
};

/** Redis answers, takes a write, and throws nothing away when its memory is full. */
export async function checkRedis({ config }: CheckContext): Promise<Problem[]> {
  const key = probeKey(queuePrefix({ database: config.mongodbDatabase }));
  try {
    return await withRedisOnce(config.redisUrl, async (redis) => {
      const outcome = await probeWrite(redis, key);
      if (outcome.kind === 'away') return [away(outcome.reason)];
      if (outcome.kind === 'refusing') return [refusing(outcome)];
      return policyProblems(await readMemoryPolicy(redis));
    });
  } catch (error) {
    return [away(error instanceof Error ? error.message : String(error))];
  }
}

function away(why: string): Problem {
  return { what: `no answer: ${why}`, todo: 'start Redis, or correct REDIS_URL', exitCode: EXIT.dependencyDown };
}

function refusing({ code, reason }: { code: string; reason: string }): Problem {
  return {
    what: `Redis refuses writes (${code}), so no job runs: ${reason}`,
    todo: ADVICE[code] ?? 'see its log; docs/runbook.md says what each refusal means',
    exitCode: EXIT.dependencyDown,
  };
}

function policyProblems(policy: string | undefined): Problem[] {
  if (policy === undefined || policy === 'noeviction') return [];
  return [
    {
      what: `its maxmemory-policy is ${policy}: queued jobs can vanish`,
      todo: 'set maxmemory-policy noeviction (redis-cli config set maxmemory-policy noeviction, and in its file)',
      exitCode: EXIT.failure,
    },
  ];
}

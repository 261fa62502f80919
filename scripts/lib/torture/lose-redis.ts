import type { EmbeddedRedis } from '../../../packages/dev-services/src/redis.ts';
import { Load, pause } from './load.ts';
import type { DaemonPopulation } from './stack.ts';
import { settleAndCompare } from './target.ts';

const JOBS = ['aggregate-usage', 'submit-meter-events'] as const;

/**
 * Empties Redis, kills it, and leaves it away while clients send and jobs run. No answer but 2xx is taken: Redis is
 * only the bell. @returns what differs afterwards.
 */
export async function loseRedis(
  population: DaemonPopulation,
  options: { redis: EmbeddedRedis; flush: () => Promise<void>; awayMs: number; say: (line: string) => void },
): Promise<string[]> {
  const { target } = population;
  const { redis, flush, awayMs, say } = options;
  const ringAll = async (): Promise<void> => {
    for (const job of JOBS) await target.ring(job);
  };
  const load = new Load(population);
  const step = async (what: string, work: () => Promise<void>): Promise<void> => {
    const before = load.requests;
    await ringAll();
    await work();
    await ringAll();
    await pause(awayMs / 4);
    say(`  ${what}: ${load.requests - before} requests acknowledged meanwhile`);
    if (load.requests === before) target.violations.push(`${what}: ingest stood still`);
  };
  await step('FLUSHALL', async () => {
    for (let times = 0; times < 5; times += 1) {
      await flush();
      await pause(awayMs / 20);
    }
  });
  await step('killed and started empty', async () => {
    await redis.kill();
    await redis.restart();
  });
  await step('absent', async () => {
    await redis.kill();
    await pause(awayMs);
  });
  const refused = [...target.statuses].filter(([status]) => status >= 300);
  await redis.restart();
  await load.stop();
  const differences = await settleAndCompare(population);
  return [...refused.map(([status, count]) => `${count} answers ${status}`), ...target.violations, ...differences];
}

import { Load, pause } from './load.ts';
import type { DaemonPopulation } from './stack.ts';
import { settleAndCompare } from './target.ts';

const LIFE_MS_MAX = 2_500;
const JOBS = ['aggregate-usage', 'submit-meter-events', 'reconcile-usage', 'requeue-usage'] as const;

/** Kills the daemon again and again while clients send and jobs run. @returns what differs afterwards. */
export async function killUnderLoad(
  population: DaemonPopulation,
  options: { kills: number; say: (line: string) => void },
): Promise<string[]> {
  const { target, mill } = population;
  const load = new Load(population);
  for (let kills = 0; kills < options.kills; kills += 1) {
    for (const job of JOBS) if (mill.below(3) > 0) await target.ring(job);
    await pause(mill.below(LIFE_MS_MAX));
    target.daemon.signal('SIGKILL');
    await pause(1);
    while (target.daemon.deaths <= kills) await pause(10);
    await target.daemon.recovered();
  }
  await load.stop();
  const differences = await settleAndCompare(population);
  const statuses = [...target.statuses].map(([status, count]) => `${count} × ${status}`).join(', ');
  options.say(
    `  ${target.daemon.deaths} kills, ${load.requests} requests, ${mill.acknowledged.size} events; ${statuses}`,
  );
  return [...target.violations, ...differences];
}

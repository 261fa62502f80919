import type { Config } from '../../../src/config.ts';
import { loadConfig } from '../../../src/config.ts';
import type { Problem } from '../../commands/doctor/check.ts';
import { checkDaemon } from '../../commands/doctor/daemon-check.ts';
import { checkRedis } from '../../commands/doctor/redis-check.ts';
import { Load, pause } from './load.ts';
import type { SilentProxy } from './silent-proxy.ts';
import type { DaemonPopulation } from './stack.ts';
import { settleAndCompare } from './target.ts';

/** Work goes on within this time of the moment from which it could. */
const GOES_ON_MS_MAX = 120_000;
/** `/readyz` and `doctor` have told the truth by then. */
const NOTICED_MS_MAX = 60_000;
const LOOK_MS = 250;
const LOOK_MS_MAX = 10_000;

/** Something that keeps work from going on, until it is over. */
export interface Trouble {
  begin(): Promise<unknown>;
  end(): Promise<unknown>;
  /** The check of `/readyz` that has to show it, and how. */
  readonly check: 'redis' | 'mongodb';
  readonly state: 'away' | 'refuses_writes';
  /** What doctor has to say, and which of its checks. */
  readonly doctor: (context: { config: Config; isAskedFor: boolean }) => Promise<Problem[]>;
  readonly says: RegExp;
}

/** Present connections stay open and pass nothing on, new ones neither; when it is over, new ones are served. */
export function silenceOf(proxy: SilentProxy, check: 'redis' | 'mongodb'): Trouble {
  return {
    check,
    state: 'away',
    doctor: checkDaemon,
    says: new RegExp(`${check} does not answer it`),
    begin: async () => {
      proxy.silenceNew(true);
      proxy.silence();
    },
    end: async () => proxy.silenceNew(false),
  };
}

/** A Redis that answers and refuses writes. */
export function refusalOf(code: 'OOM' | 'READONLY', switches: Pick<Trouble, 'begin' | 'end'>): Trouble {
  const says = new RegExp(`Redis refuses writes \\(${code}\\)`);
  return { ...switches, check: 'redis', state: 'refuses_writes', doctor: checkRedis, says };
}

/**
 * Has a trouble begin under load, last, and end. @returns what was not told meanwhile, when work went on too late, and what
 * differs afterwards.
 */
export async function outlive(
  population: DaemonPopulation,
  trouble: Trouble,
  options: { lastsMs: number; say: (line: string) => void },
): Promise<string[]> {
  const { target } = population;
  const config = loadConfig(population.settings);
  const faults: string[] = [];
  await target.run('aggregate-usage');
  const load = new Load(population);
  await trouble.begin();
  const beganMs = performance.now();
  faults.push(...(await tellTheTruth(target.daemon.url, trouble, config)));
  options.say(
    `  told after ${seconds(beganMs)} s: /readyz ${trouble.check} ${trouble.state}, doctor ${trouble.says.source}`,
  );
  await pause(Math.max(0, options.lastsMs - (performance.now() - beganMs)));
  faults.push(...(await tellTheTruth(target.daemon.url, trouble, config)).map((fault) => `at the end: ${fault}`));
  const lastedS = seconds(beganMs);
  await trouble.end();
  const endedMs = performance.now();
  await target.run('aggregate-usage');
  const wentOnS = seconds(endedMs);
  await until(GOES_ON_MS_MAX, async () => (await readiness(target.daemon.url))?.status === 'ready');
  if (performance.now() - endedMs > GOES_ON_MS_MAX) faults.push('work did not go on within two minutes');
  await load.stop();
  options.say(
    `  lasted ${lastedS} s; work went on ${wentOnS} s after its end, /readyz was ready after ${seconds(endedMs)} s; ` +
      `${load.requests} requests acknowledged`,
  );
  return [...faults, ...target.violations, ...(await settleAndCompare(population))];
}

async function tellTheTruth(url: string, trouble: Trouble, config: Config): Promise<string[]> {
  const isShown = await until(
    NOTICED_MS_MAX,
    async () => (await readiness(url))?.checks?.[trouble.check] === trouble.state,
  );
  const isSaid = await until(NOTICED_MS_MAX, async () => {
    const problems = await trouble.doctor({ config, isAskedFor: true });
    return problems.some(({ what }) => trouble.says.test(what));
  });
  return [
    ...(isShown ? [] : [`/readyz did not show ${trouble.check} as ${trouble.state}`]),
    ...(isSaid ? [] : [`doctor did not say ${trouble.says.source}`]),
  ];
}

interface Readiness {
  readonly status?: string;
  readonly checks?: Readonly<Record<string, string>>;
}

async function readiness(url: string): Promise<Readiness | undefined> {
  try {
    const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(LOOK_MS_MAX) });
    return (await response.json()) as Readiness;
  } catch {
    // A busy daemon that does not answer in time tells nothing yet.
    return undefined;
  }
}

/** Whether it becomes so in time. */
async function until(limitMs: number, isSo: () => Promise<boolean>): Promise<boolean> {
  for (const untilMs = performance.now() + limitMs; performance.now() < untilMs; await pause(LOOK_MS)) {
    if (await isSo()) return true;
  }
  return false;
}

function seconds(sinceMs: number): string {
  return ((performance.now() - sinceMs) / 1_000).toFixed(1);
}

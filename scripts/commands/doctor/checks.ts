import { type Config, configFaults, loadConfig } from '../../../src/config.ts';
import { REVIEW_AREAS } from '../../../src/daemon/needs-review.ts';
import { toCommandError } from '../../lib/command-error.ts';
import { EXIT } from '../../lib/exit-codes.ts';
import type { Check, Problem } from './check.ts';
import { checkDaemon } from './daemon-check.ts';
import { checkIndexes, checkMongodb, checkReview } from './mongodb-check.ts';
import { checkRedis } from './redis-check.ts';
import { checkStripe } from './stripe-check.ts';
import { checkWebhooks } from './webhooks-check.ts';

/** Every check besides the configuration, in the order in which problems are told. */
const CHECKS: Readonly<Record<string, Check>> = {
  mongodb: checkMongodb,
  indexes: checkIndexes,
  redis: checkRedis,
  stripe: checkStripe,
  webhooks: checkWebhooks,
  review: checkReview(REVIEW_AREAS),
  daemon: checkDaemon,
};

/** The checks that a name stands for. What waits for a human can be asked for by area. */
function checksOf(asked: string | undefined): [string, Check][] {
  if (asked === undefined) return Object.entries(CHECKS);
  const names = asked === 'health' ? HEALTH : [asked];
  const checks = Object.entries(CHECKS).filter(([name]) => names.includes(name));
  const areas = REVIEW_AREAS.filter((area) => area === asked);
  return areas.length === 0 ? checks : [...checks, [asked, checkReview(areas)]];
}

/** What a container's health is: without calls to Stripe, whose reads are counted, and without what people must mend. */
const HEALTH: readonly string[] = ['mongodb', 'redis', 'daemon'];
/** Checks that say nothing new when MongoDB does not answer. */
const NEED_MONGODB: readonly string[] = ['indexes', 'review', 'stripe', 'webhooks'];

export interface FoundProblem extends Problem {
  readonly check: string;
}

/** Runs one check, the group `health`, or all of them. */
export async function runChecks(asked: string | undefined): Promise<FoundProblem[]> {
  const config = readConfig();
  if (Array.isArray(config)) return config;
  const found: FoundProblem[] = [];
  for (const [name, check] of checksOf(asked)) {
    const isMongodbDown = found.some(
      (problem) => problem.check === 'mongodb' && problem.exitCode === EXIT.dependencyDown,
    );
    if (isMongodbDown && NEED_MONGODB.includes(name)) continue;
    const problems = await check({ config, isAskedFor: asked !== undefined }).catch(unreachable);
    found.push(...problems.map((problem) => ({ check: name, ...problem })));
  }
  return found;
}

function readConfig(): Config | FoundProblem[] {
  const faults = configFaults();
  if (faults.length === 0) return loadConfig();
  return faults.map(({ name, detail }) => ({
    check: 'configuration',
    what: `${name} ${detail}`,
    todo: 'correct it; docs/configuration.md explains every variable',
    exitCode: EXIT.configuration,
  }));
}

/** What could not be looked at at all. */
function unreachable(error: unknown): Problem[] {
  const { message, why, exitCode } = toCommandError(error);
  return [
    { what: why === undefined ? message : `${message} (${why})`, todo: 'start it, or correct its address', exitCode },
  ];
}

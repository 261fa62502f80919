import { systemClock } from '../platform/clock.ts';
import type { Config } from '../config.ts';
import { findFailingJobs, findOverdueJobs, type ReviewLimits } from './late-jobs.ts';
import { REVIEW_EXAMPLES_MAX, type ReviewFact } from './needs-review.ts';
import { findStillBell } from './standstill.ts';
import type { RefusedItems } from '../stripe/stripe-refusal.ts';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../platform/durations.ts';
import type { Stores } from './stores.ts';

/** What the list is read from. */
export interface ReviewParts {
  readonly stores: Stores;
  readonly config: Config;
  readonly nowMs: number;
}

const QUEUED_RUNS_COUNTED_MAX = 1_000;
const HOURLY_CRON = /^\d+ \* \* \* \*$/;

/** An hourly job is late after three turns; one at another time of day after a day and a little. */
export function limitsOf(config: Config): ReviewLimits {
  const aggregateMs = HOURLY_CRON.test(config.aggregateCron) ? 3 * HOUR_MS : DAY_MS + 2 * HOUR_MS;
  const withStripe = {
    'reconcile-usage': DAY_MS + 2 * HOUR_MS,
    'resolve-submissions': HOUR_MS,
    'catch-up-events': 3 * HOUR_MS,
    'find-unbilled-usage': 3 * HOUR_MS,
  };
  return {
    jobs: { 'aggregate-usage': aggregateMs, ...(config.stripeSecretKey !== undefined && withStripe) },
    journalMs: aggregateMs,
    submissionsMs: 3 * HOUR_MS,
    webhooksMs: 15 * MINUTE_MS,
  };
}

/**
 * Jobs whose last run is longer ago than is said to be too long: the daemon was away. They are not left to their next turn,
 * so that nobody is told of what is about to happen by itself.
 */
export async function missedJobs({ stores, config, nowMs }: ReviewParts): Promise<string[]> {
  const missed = await Promise.all(
    Object.entries(limitsOf(config).jobs).map(async ([job, limitMs]) => {
      const startedAt = (await stores.runs.last(job))?.startedAt;
      return startedAt !== undefined && nowMs - startedAt.getTime() > limitMs ? [job] : [];
    }),
  );
  return missed.flat();
}

/** Jobs that fail, are late, went on without something, or stand still. */
export async function jobFacts({ stores, config, nowMs }: ReviewParts): Promise<ReviewFact[]> {
  const [runs, beganMs, bell, refused] = await Promise.all([
    stores.reviewCounts.latestRuns(),
    stores.reviewCounts.beganMs(),
    bellFacts(stores),
    refusedItems(stores),
  ]);
  const failing = [...bell, ...findFailingJobs(runs), ...refused];
  if (beganMs === undefined) return failing;
  const limits = limitsOf(config).jobs;
  const successes = await Promise.all(
    Object.keys(limits).map(async (job) => {
      const at = (await stores.runs.lastSuccess(job))?.startedAt?.getTime();
      return at === undefined ? [] : [[job, at] as const];
    }),
  );
  return [...failing, ...findOverdueJobs({ lastSuccessMs: new Map(successes.flat()), beganMs, nowMs, limits })];
}

/** What the last run of each job over everything went on without. */
async function refusedItems(stores: Stores): Promise<ReviewFact[]> {
  const outcomes = await Promise.all((await stores.runs.jobs()).map((job) => stores.runs.lastOutcome(job)));
  return outcomes.flatMap((run) => {
    const refused = run?.result?.['refused'] as RefusedItems | undefined;
    if (run === null || refused === undefined) return [];
    const examples = refused.first.slice(0, REVIEW_EXAMPLES_MAX).map(({ item, reason }) => `${item}: ${reason}`);
    const sinceMs = run.endedAt?.getTime();
    const at = sinceMs === undefined ? {} : { sinceMs };
    return [{ kind: 'items_refused' as const, count: refused.count, reason: run.job, examples, ...at }];
  });
}

/** Heartbeats are the machine's, whatever clock the work goes by. */
async function bellFacts({ heartbeats, runs }: Stores): Promise<ReviewFact[]> {
  const [beats, queued] = await Promise.all([heartbeats.last(), runs.listQueued(QUEUED_RUNS_COUNTED_MAX)]);
  return findStillBell({
    nowMs: systemClock.now(),
    workedAtMs: beats.worker?.getTime(),
    sweptAtMs: beats.sweep?.getTime(),
    queuedRuns: { count: queued.length, oldestMs: queued[0]?.queuedAt.getTime() },
  });
}

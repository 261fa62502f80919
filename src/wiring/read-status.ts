import type { Status } from '../http/status.ts';
import { packageVersion } from '../version.ts';
import type { JobParts } from './job-parts.ts';
import { readNeedsReview } from './needs-review.ts';

/** Gathers where the pipeline stands. */
export async function readStatus(parts: JobParts, jobs: readonly string[]): Promise<Status> {
  const { stores, config, clock, installation, stripe } = parts;
  const [
    journal,
    census,
    oldestOpen,
    blocked,
    late,
    windows,
    periods,
    uncountable,
    rejectedEvents,
    pause,
    lastRuns,
    review,
  ] = await Promise.all([
    stores.dirtyHours.backlog(),
    stores.submissions.census(),
    stores.submissions.oldestOpen(),
    stores.submissions.blockedReasons(),
    stores.lateUsage.waiting(),
    stores.usageAggregates.countPlanDue(),
    stores.usagePeriods.countPlanDue(),
    stores.usageAggregates.countUncountable(),
    stores.rejectedEvents.count(),
    stores.submittingPauses.find(),
    readLastRuns(parts, jobs),
    readNeedsReview({ stores, config, nowMs: clock.now() }),
  ]);
  return {
    version: packageVersion(),
    installation,
    needsReview: review.map(({ sinceMs, ...item }) => ({
      ...item,
      ...(sinceMs !== undefined && { since: new Date(sinceMs).toISOString() }),
    })),
    journal: {
      entries: journal.entries,
      ...(journal.oldestOpenedAt && { oldestOpenedAt: journal.oldestOpenedAt.toISOString() }),
      ...(journal.setAside && {
        setAside: { ...journal.setAside, oldestAt: journal.setAside.oldestAt.toISOString() },
      }),
    },
    submissions: census.map(({ state, count }) => {
      const oldest = oldestOpen.get(state);
      return { state, count, ...(oldest && { oldestPlannedAt: oldest.toISOString() }) };
    }),
    blocked,
    lateUsage: late.map(({ oldestAt, ...rest }) => ({ ...rest, oldestAt: oldestAt.toISOString() })),
    planDue: windows + periods,
    uncountable,
    ...(pause && { paused: { ...pause, pausedAt: pause.pausedAt.toISOString() } }),
    lastRuns,
    rejectedEvents,
    ...(stripe && { breaker: stripe.meterEvents.breakerState }),
  };
}

async function readLastRuns(parts: JobParts, jobs: readonly string[]): Promise<Status['lastRuns']> {
  const { runs } = parts.stores;
  const found = await Promise.all(
    jobs.map(async (job) => ({ run: await runs.last(job), failures: await runs.failuresInARow(job) })),
  );
  return Object.fromEntries(
    found.flatMap(({ run, failures }) => {
      if (run === null) return [];
      const { job, state, endedAt } = run;
      const ended = endedAt && { endedAt: endedAt.toISOString() };
      return [[job, { state, ...ended, ...(failures > 0 && { failuresInARow: failures }) }]];
    }),
  );
}

import type { Status } from '../http/status.ts';
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
    installation,
    needsReview: review.map(({ sinceMs, ...item }) => ({
      ...item,
      ...(sinceMs !== undefined && { since: new Date(sinceMs).toISOString() }),
    })),
    journal: {
      entries: journal.entries,
      ...(journal.oldestOpenedAt && { oldestOpenedAt: journal.oldestOpenedAt.toISOString() }),
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
  const found = await Promise.all(jobs.map((job) => parts.stores.runs.last(job)));
  return Object.fromEntries(
    found
      .filter((run) => run !== null)
      .map(({ job, state, endedAt }) => [job, { state, ...(endedAt && { endedAt: endedAt.toISOString() }) }]),
  );
}

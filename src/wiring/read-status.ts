import type { Status } from '../http/status.ts';
import type { JobParts } from './job-parts.ts';

/** Gathers where the pipeline stands. */
export async function readStatus(parts: JobParts, jobs: readonly string[]): Promise<Status> {
  const { stores, installation, stripe } = parts;
  const [journal, census, blocked, windows, periods, uncountable, rejectedEvents, lastRuns] = await Promise.all([
    stores.dirtyHours.backlog(),
    stores.submissions.census(),
    stores.submissions.blockedReasons(),
    stores.usageAggregates.countPlanDue(),
    stores.usagePeriods.countPlanDue(),
    stores.usageAggregates.countUncountable(),
    stores.rejectedEvents.count(),
    readLastRuns(parts, jobs),
  ]);
  return {
    installation,
    journal: {
      entries: journal.entries,
      ...(journal.oldestOpenedAt && { oldestOpenedAt: journal.oldestOpenedAt.toISOString() }),
    },
    submissions: census.map(({ state, count, oldestPlannedAt }) => ({
      state,
      count,
      oldestPlannedAt: oldestPlannedAt.toISOString(),
    })),
    blocked,
    planDue: windows + periods,
    uncountable,
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

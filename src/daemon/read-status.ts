import type { RefusedItems } from '../stripe/stripe-refusal.ts';
import type { Status } from './status-routes.ts';
import { packageVersion } from '../platform/version.ts';
import type { JobParts } from './job-parts.ts';
import { readNeedsReview } from './read-needs-review.ts';
import { readUnbilled } from './unbilled-usage.ts';

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
    pruned,
    pause,
    lastRuns,
    review,
    unbilled,
    receptions,
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
    stores.rejectedEvents.pruned(),
    stores.submittingPauses.find(),
    readLastRuns(parts, jobs),
    readNeedsReview({ stores, config, nowMs: clock.now() }),
    readUnbilled(parts),
    stores.webhookReceptions.list(),
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
    unbilled,
    planDue: windows + periods,
    uncountable,
    ...(pause && { paused: { ...pause, pausedAt: pause.pausedAt.toISOString() } }),
    lastRuns,
    rejectedEvents,
    ...(pruned && { rejectedEventsPruned: { count: pruned.count, lastAt: pruned.lastAt.toISOString() } }),
    webhooks: receptions.map(({ firstAt, lastAt, ...rest }) => ({
      ...rest,
      firstAt: firstAt.toISOString(),
      lastAt: lastAt.toISOString(),
    })),
    ...(stripe && { breaker: stripe.meterEvents.breakerState }),
  };
}

async function readLastRuns(parts: JobParts, jobs: readonly string[]): Promise<Status['lastRuns']> {
  const found = await Promise.all(
    (await readLastOutcomes(parts, jobs)).map(async ({ job, endedAt, ...rest }) => {
      const failuresInARow = await parts.stores.runs.failuresInARow(job);
      const known = {
        ...rest,
        ...(failuresInARow > 0 && { failuresInARow }),
        ...(endedAt && { endedAt: endedAt.toISOString() }),
      };
      return [job, known] as const;
    }),
  );
  return Object.fromEntries(found);
}

/** How a job's last run over everything ended. */
export interface LastOutcome {
  readonly job: string;
  readonly state: string;
  readonly endedAt?: Date;
  readonly error?: { readonly code: string; readonly message: string };
  /** What the run went on without; absent where that is nothing. */
  readonly refused?: RefusedItems;
}

/** The last outcome of each of these jobs that has run. */
export async function readLastOutcomes({ stores }: JobParts, jobs: readonly string[]): Promise<LastOutcome[]> {
  const found = await Promise.all(jobs.map((job) => stores.runs.lastOutcome(job)));
  return found.flatMap((run) => {
    if (run === null) return [];
    const { job, state, endedAt, error, result } = run;
    const refused = result?.['refused'] as RefusedItems | undefined;
    const known = { ...(endedAt && { endedAt }), ...(error && { error }), ...(refused && { refused }) };
    return [{ job, state, ...known }];
  });
}

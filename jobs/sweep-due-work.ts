import type { Clock } from '../src/platform/clock.ts';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../src/platform/durations.ts';

/** Entries that may wait in the journal before a run starts outside its schedule. */
const DIRTY_ENTRIES_WAITING_MAX = 2_000;
/** Older than this, the hourly tick was missed. */
const DIRTY_ENTRY_AGE_MS_MAX = HOUR_MS + 5 * MINUTE_MS;
const RECONCILE_AGE_MS_MAX = 25 * HOUR_MS;
const RUN_AGE_MS_MAX = 30 * DAY_MS;
const QUEUED_RUNS_MAX = 100;

export interface SweepDueWorkDeps {
  backlog(): Promise<{ entries: number; oldestOpenedAt?: Date }>;
  hasRequeue(): Promise<boolean>;
  /** Whether a submission can be tried, or a row be planned, at an instant. */
  hasSubmitWork(nowMs: number): Promise<boolean>;
  /** Jobs of other stages that have something to do. */
  otherDueJobs(nowMs: number): Promise<readonly string[]>;
  nextRereadAt(): Promise<Date | undefined>;
  lastReconciledAt(): Promise<Date | undefined>;
  queuedRuns(limit: number): Promise<{ _id: string; job: string }[]>;
  pruneRejected(before: Date): Promise<number>;
  pruneRuns(before: Date): Promise<number>;
  readonly queue: {
    addOnce(job: string, trigger: 'sweep'): Promise<void>;
    addRun(job: string, run: string): Promise<void>;
  };
  readonly isSubmitting: boolean;
  readonly rejectedDaysMax: number;
  readonly startedAtMs: number;
  readonly clock: Clock;
}

/** Lists from MongoDB what is due and rings for it: so a lost Redis or a missed tick delays work and drops none. */
export async function sweepDueWork(deps: SweepDueWorkDeps): Promise<{ rung: string[] }> {
  const nowMs = deps.clock.now();
  const rung: string[] = [];
  const ring = async (job: string): Promise<void> => {
    await deps.queue.addOnce(job, 'sweep');
    rung.push(job);
  };
  if (await deps.hasRequeue()) await ring('requeue-usage');
  const { entries, oldestOpenedAt } = await deps.backlog();
  const ageMs = oldestOpenedAt === undefined ? 0 : nowMs - oldestOpenedAt.getTime();
  if (entries >= DIRTY_ENTRIES_WAITING_MAX || ageMs > DIRTY_ENTRY_AGE_MS_MAX) await ring('aggregate-usage');
  if (deps.isSubmitting && (await deps.hasSubmitWork(nowMs))) await ring('submit-meter-events');
  if (deps.isSubmitting && (await isReconcileDue(deps, nowMs))) await ring('reconcile-usage');
  for (const job of new Set(await deps.otherDueJobs(nowMs))) await ring(job);
  for (const { _id, job } of await deps.queuedRuns(QUEUED_RUNS_MAX)) {
    await deps.queue.addRun(job, _id);
    rung.push(`${job} (requested)`);
  }
  await deps.pruneRejected(new Date(nowMs - deps.rejectedDaysMax * DAY_MS));
  await deps.pruneRuns(new Date(nowMs - RUN_AGE_MS_MAX));
  return { rung };
}

async function isReconcileDue(deps: SweepDueWorkDeps, nowMs: number): Promise<boolean> {
  const rereadAt = await deps.nextRereadAt();
  if (rereadAt !== undefined && rereadAt.getTime() <= nowMs) return true;
  const last = (await deps.lastReconciledAt())?.getTime() ?? deps.startedAtMs;
  return nowMs - last > RECONCILE_AGE_MS_MAX;
}

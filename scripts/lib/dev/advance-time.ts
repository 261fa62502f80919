import { HOUR_MS } from '../../../src/platform/durations.ts';
import type { JobName } from '../../../src/daemon/job-input.ts';
import type { ApiClient } from '../api-client.ts';
import { runJob } from '../job-run.ts';
import type { SimulatorClient } from '../simulator-client.ts';
import { listDrafts } from './stripe-objects.ts';

export interface AdvanceDeps {
  readonly api: ApiClient;
  readonly simulator: SimulatorClient;
  /** Moves the clocks of daemon and double together. */
  readonly moveBy: (advanceMs: number) => Promise<void>;
  readonly say: (line: string) => void;
}

/** What the schedules do in the course of time, in the order in which usage passes through it. */
const JOBS = [
  'process-webhooks',
  'requeue-usage',
  'aggregate-usage',
  'submit-meter-events',
  'guard-invoices',
  'settle-late-usage',
] as const;
/** Each round may give the next one something to do: a webhook, an invoice to look at again. */
const ROUNDS_MAX = 6;
/** A draft waits an hour for its finalisation, counted from when its webhook was taken. */
const DRAFT_MS_MAX = 2 * HOUR_MS;

/** Between which instants time passed. */
export interface AdvancedTime {
  readonly from: string;
  readonly to: string;
  /** Invoices drafted on the way that do not advance by themselves: the guard holds them. */
  readonly held: readonly string[];
}

interface SimulatorClock {
  readonly nowMs: number;
  readonly nextDueAtMs?: number;
}

/**
 * Lets time pass up to an instant, with a stop wherever something happens at the double, at which the daemon does what its
 * schedules would have done. Goes on past the instant until the invoices drafted on the way are final.
 */
export async function advanceTime(deps: AdvanceDeps, span: { fromMs: number; toMs: number }): Promise<AdvancedTime> {
  const advanced = await passTime(deps, span);
  await runOverdue(deps);
  return advanced;
}

/** What else the schedules would have done by now: for who looks afterwards nothing is overdue. */
async function runOverdue({ api }: AdvanceDeps): Promise<void> {
  const { needsReview } = await api.get<Pick<Status, 'needsReview'>>('/v1/status');
  for (const { kind, examples = [] } of needsReview) {
    if (kind !== 'job_overdue') continue;
    for (const job of examples) await runJob(api, { job: job as JobName });
  }
}

interface Status {
  readonly needsReview: readonly { readonly kind: string; readonly examples?: readonly string[] }[];
}

async function passTime(
  deps: AdvanceDeps,
  { fromMs: nowMs, toMs }: { fromMs: number; toMs: number },
): Promise<AdvancedTime> {
  // What was used in this hour is sent when the hour has ended, as on any other day.
  const hourEndMs = (Math.floor(nowMs / HOUR_MS) + 1) * HOUR_MS;
  if (hourEndMs < toMs) await stopAt(deps, hourEndMs);
  for (;;) {
    const { nextDueAtMs } = await readClock(deps);
    if (nextDueAtMs === undefined || nextDueAtMs > toMs) break;
    await stopAt(deps, nextDueAtMs);
  }
  await stopAt(deps, toMs);
  for (;;) {
    const { nowMs: atMs } = await readClock(deps);
    const drafts = await listDrafts(deps.simulator.url);
    const held = drafts.filter(({ autoAdvance }) => !autoAdvance).map(({ id }) => id);
    const finalAtMs = Math.min(...drafts.flatMap((draft) => (draft.autoAdvance ? (draft.finalizesAtMs ?? []) : [])));
    if (!(finalAtMs > atMs && finalAtMs <= toMs + DRAFT_MS_MAX)) {
      return { from: new Date(nowMs).toISOString(), to: new Date(atMs).toISOString(), held };
    }
    await stopAt(deps, finalAtMs);
  }
}

function readClock({ simulator }: AdvanceDeps): Promise<SimulatorClock> {
  return simulator.get<SimulatorClock>('/_sim/clock');
}

/** Moves the clocks to an instant, and lets everything happen that is due by then. */
async function stopAt(deps: AdvanceDeps, instantMs: number): Promise<void> {
  const { nowMs } = await readClock(deps);
  if (instantMs > nowMs) await deps.moveBy(instantMs - nowMs);
  deps.say(`at ${new Date(Math.max(instantMs, nowMs)).toISOString()}`);
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    await deps.simulator.post('/_sim/deliver', { settle: true });
    let isQuiet = true;
    for (const job of JOBS) {
      const { result = {} } = await runJob(deps.api, { job });
      if (hasMoved(result)) isQuiet = false;
    }
    if (isQuiet && round > 0) return;
  }
}

/** Whether a run found something to do: a count above zero, or a list with something in it. */
function hasMoved(result: Record<string, unknown>): boolean {
  return Object.entries(result).some(([name, value]) => {
    if (name === 'wanted') return (value as readonly unknown[]).length > 0;
    return MOVING.includes(name) && Number(value) > 0;
  });
}

/** The counts of work done, by which a run tells that there may be more. */
const MOVING = ['done', 'hours', 'customerHours', 'planned', 'calls', 'submitted'];

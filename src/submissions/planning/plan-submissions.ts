import { boundary } from '../../platform/boundary.ts';
import type { Clock } from '../../platform/clock.ts';
import type { RowName } from '../outbox-entry.ts';
import { dueAtMsOf } from '../sending/pacing.ts';
import { isAdditive, type Meter } from '../../meters/meter.ts';
import type { PlannableRow, PlannedSubmission, RowPlan } from './submission-plan.ts';
import { HOUR_MS } from '../../platform/durations.ts';
import { planPeriods, type PlanRowsContext, type PlanRowsDeps, planWindows } from './plan-rows.ts';
import type { DestinationMeter } from '../../meters/stripe-meter.ts';

export interface PlanSubmissionsDeps extends PlanRowsDeps {
  readonly outbox: PlanRowsDeps['outbox'] & {
    dueWindows(query: DueQuery & { endedByMs: number }): AsyncGenerator<PlannableRow[]>;
    duePeriods(query: DueQuery): AsyncGenerator<PlannableRow[]>;
    /** Of those, the ones that a changed calendar gave up. */
    formerPeriods(query: DueQuery): Promise<PlannableRow[]>;
    store(
      plans: readonly RowPlan[],
      at: Date,
      between: () => Promise<void>,
    ): Promise<{ readonly planned: number; readonly late: number }>;
  };
  readonly relatedRows: PlanRowsDeps['relatedRows'] & {
    /** Those of these periods that are due. */
    dueAmong(periods: readonly RowName[]): Promise<PlannableRow[]>;
  };
  stripeMeters(): Promise<readonly DestinationMeter[]>;
  /** Over how long what becomes due together is spread. */
  spreadSpanMs(): Promise<number>;
  readonly windowSettleMs: number;
  readonly clock: Clock;
}

interface DueQuery {
  readonly meters: readonly string[];
  readonly customerId?: string;
}

/** What planning is limited to. */
export interface PlanScope {
  readonly meters: readonly Meter[];
  /** Only this customer's rows. */
  readonly customerId?: string;
  /** At once: windows need not settle. */
  readonly flush?: boolean;
}

export interface PlanSubmissionsInput extends PlanScope {
  readonly dryRun?: boolean;
  /** Called as submissions are stored. */
  readonly onStored?: () => void;
}

export interface PlanSubmissionsResult {
  /** Submissions made. */
  readonly planned: number;
  /** Late-usage entries made: differences that Stripe would never bill. */
  readonly late: number;
  /** With `dryRun`: what would be made, up to a bound. */
  readonly plans?: readonly PlannedSubmission[];
}

/** Submissions that a dry run shows. */
const PLANS_SHOWN_MAX = 1_000;

/**
 * Turns rows whose figure has moved into submissions. Safe to run at any time, twice at once, and to stop anywhere: the
 * identifier comes from the row and its sequence, and the row moves on by compare-and-set after the submission exists.
 */
export async function planSubmissions(
  deps: PlanSubmissionsDeps,
  input: PlanSubmissionsInput,
): Promise<PlanSubmissionsResult> {
  const shown: PlannedSubmission[] = [];
  const made = { planned: 0, late: 0 };
  const spanMs = input.flush === true ? 0 : await deps.spreadSpanMs();
  for await (const plans of planDueRows(deps, input)) {
    if (input.dryRun === true) {
      const submissions = plans.flatMap((plan) => (plan.kind === 'submit' ? [plan.submission] : []));
      made.planned += submissions.length;
      made.late += plans.filter(({ kind }) => kind === 'late').length;
      shown.push(...submissions.slice(0, PLANS_SHOWN_MAX - shown.length));
      continue;
    }
    const stored = await store(deps, spread(deps, plans, spanMs));
    made.planned += stored.planned;
    made.late += stored.late;
    if (stored.planned > 0) input.onStored?.();
  }
  return { ...made, ...(input.dryRun === true && { plans: shown }) };
}

/**
 * Plans the next steps of running figures whose last step was answered, without a search for all that is due.
 * @returns the identifiers of their submissions.
 */
export async function planRows(
  deps: PlanSubmissionsDeps,
  rows: readonly RowName[],
  scope: PlanScope,
): Promise<string[]> {
  const due = await deps.relatedRows.dueAmong(rows);
  if (due.length === 0) return [];
  const plans = await planPeriods(deps, due, await contextOf(deps, scope));
  await store(deps, plans);
  return plans.flatMap((plan) => (plan.kind === 'submit' ? [plan.submission.identifier] : []));
}

/** So that the windows of an hour do not all go out in the moment in which they have settled. */
function spread(deps: PlanSubmissionsDeps, plans: readonly RowPlan[], spanMs: number): RowPlan[] {
  const pace = { nowMs: deps.clock.now(), windowSettleMs: deps.windowSettleMs, spanMs };
  return plans.map((plan) => {
    if (plan.kind !== 'submit') return plan;
    const { customerId, meter, timestampMs } = plan.submission;
    const endMs = plan.row.subject === 'window' ? plan.row.endMs : timestampMs + HOUR_MS;
    return { ...plan, submission: { ...plan.submission, dueAtMs: dueAtMsOf({ customerId, meter, endMs }, pace) } };
  });
}

async function store(
  deps: PlanSubmissionsDeps,
  plans: readonly RowPlan[],
): Promise<{ readonly planned: number; readonly late: number }> {
  const at = new Date(deps.clock.now());
  const stored = await deps.outbox.store(plans, at, () => boundary('plan.submissions-inserted'));
  await boundary('plan.rows-moved');
  return stored;
}

async function contextOf(deps: PlanSubmissionsDeps, { meters, flush }: PlanScope): Promise<PlanRowsContext> {
  const stripeMeters = await deps.stripeMeters();
  const nowMs = deps.clock.now();
  return {
    meters: new Map(meters.filter(({ stripe }) => stripe !== undefined).map((meter) => [meter.key, meter])),
    stripeMeters: new Map(stripeMeters.map((meter) => [meter.eventName, meter])),
    nowMs,
    endedByMs: flush === true ? nowMs : nowMs - deps.windowSettleMs,
  };
}

/** What there is to be planned, batch by batch. */
async function* planDueRows(deps: PlanSubmissionsDeps, scope: PlanScope): AsyncGenerator<RowPlan[]> {
  const context = await contextOf(deps, scope);
  const customer = scope.customerId === undefined ? {} : { customerId: scope.customerId };
  const meters = [...context.meters.values()];
  const additive = meters.filter(({ aggregation }) => isAdditive(aggregation)).map(({ key }) => key);
  const running = meters.filter(({ aggregation }) => !isAdditive(aggregation)).map(({ key }) => key);
  // Running figures come first: their steps go out one after the other, while windows wait for nothing. Former periods
  // first, so that the periods in their place are planned after what was added to them last.
  const former = await deps.outbox.formerPeriods({ ...customer, meters: running });
  if (former.length > 0) yield await planPeriods(deps, former, context);
  for await (const rows of deps.outbox.duePeriods({ ...customer, meters: running })) {
    yield await planPeriods(deps, rows, context);
  }
  for await (const rows of deps.outbox.dueWindows({ ...customer, meters: additive, endedByMs: context.endedByMs })) {
    yield await planWindows(deps, rows, context);
  }
}

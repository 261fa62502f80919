import { boundary } from '../src/boundary.ts';
import type { Clock } from '../src/clock.ts';
import type { BillingCustomer } from '../src/domain/billing-customer.ts';
import { isAdditive, type Meter } from '../src/domain/meter.ts';
import {
  type NextFigure,
  type PlannableRow,
  type PlannedSubmission,
  planRow,
  type RowPlan,
} from '../src/domain/submission-plan.ts';

export interface PlanSubmissionsDeps {
  readonly outbox: {
    dueWindows(meters: readonly string[], endedByMs: number): AsyncGenerator<PlannableRow[]>;
    duePeriods(meters: readonly string[]): AsyncGenerator<PlannableRow[]>;
    unanswered(rows: readonly PlannableRow[]): Promise<Set<string>>;
    nextFigure(row: PlannableRow, meter: Meter, endedByMs: number): Promise<NextFigure | undefined>;
    store(plans: readonly RowPlan[], at: Date, between: () => Promise<void>): Promise<number>;
  };
  billingOf(customerIds: readonly string[]): Promise<Map<string, BillingCustomer>>;
  readonly installation: string;
  readonly windowSettleMs: number;
  readonly clock: Clock;
}

export interface PlanSubmissionsResult {
  /** Submissions made. */
  readonly planned: number;
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
  input: { meters: readonly Meter[]; dryRun?: boolean },
): Promise<PlanSubmissionsResult> {
  const meters = new Map(input.meters.filter(({ stripe }) => stripe !== undefined).map((meter) => [meter.key, meter]));
  const endedByMs = deps.clock.now() - deps.windowSettleMs;
  const additive = [...meters.values()].filter(({ aggregation }) => isAdditive(aggregation));
  const running = [...meters.values()].filter(({ aggregation }) => !isAdditive(aggregation));
  const shown: PlannedSubmission[] = [];
  let planned = 0;
  for (const source of [
    deps.outbox.dueWindows(additive.map(keyOf), endedByMs),
    deps.outbox.duePeriods(running.map(keyOf)),
  ]) {
    for await (const rows of source) {
      const plans = await planBatch(deps, rows, { meters, endedByMs });
      if (input.dryRun === true) {
        const submissions = plans.flatMap((plan) => (plan.kind === 'submit' ? [plan.submission] : []));
        planned += submissions.length;
        shown.push(...submissions.slice(0, PLANS_SHOWN_MAX - shown.length));
        continue;
      }
      planned += await deps.outbox.store(plans, new Date(deps.clock.now()), () =>
        boundary('plan.submissions-inserted'),
      );
      await boundary('plan.rows-moved');
    }
  }
  return { planned, ...(input.dryRun === true && { plans: shown }) };
}

async function planBatch(
  deps: PlanSubmissionsDeps,
  rows: readonly PlannableRow[],
  context: { meters: ReadonlyMap<string, Meter>; endedByMs: number },
): Promise<RowPlan[]> {
  const unanswered = await deps.outbox.unanswered(rows);
  const customers = await deps.billingOf([...new Set(rows.map(({ customerId }) => customerId))]);
  const plans: RowPlan[] = [];
  for (const row of rows) {
    const meter = context.meters.get(row.meter);
    const customer = customers.get(row.customerId);
    // At most one submission of a row is unanswered: the next waits for it.
    if (meter === undefined || customer === undefined || unanswered.has(row.planned?.identifier ?? '')) continue;
    const next = await deps.outbox.nextFigure(row, meter, context.endedByMs);
    if (next !== undefined) {
      plans.push(planRow(row, next, { customer, installation: deps.installation, nowMs: deps.clock.now() }));
    } else if ((row.planned?.quantity ?? '0') === row.quantity) {
      plans.push({ kind: 'settled', row });
    }
  }
  return plans;
}

function keyOf(meter: Meter): string {
  return meter.key;
}

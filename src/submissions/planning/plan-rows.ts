import { type BillingCustomer, currentCalendar } from '../../customers/calendar/billing-customer.ts';
import { groupBy } from '../../platform/grouping.ts';
import { asUnit, isReshapedHour, movesUsage, unsureOfHour } from './layout-correction.ts';
import type { FinalMeterPeriod } from '../late-usage.ts';
import type { Meter } from '../../meters/meter.ts';
import type { Period } from '../../customers/calendar/period.ts';
import { countStamps, isPresentPeriod, presentPeriodsOver, type StampedEntry } from './stamped-figure.ts';
import { runningStampMs } from './submission-mode.ts';
import {
  type NextFigure,
  type PlannableRow,
  planRow,
  type RowPlan,
  settled,
  type TakeOver,
} from './submission-plan.ts';
import { planTakeOver, rowTakenOver } from './take-over.ts';
import { type EpochHour, epochHourOf } from '../../customers/calendar/window.ts';
import { type DestinationMeter, modeOf, type SubmissionMode } from '../../meters/stripe-meter.ts';

export interface PlanRowsDeps {
  readonly outbox: {
    unanswered(rows: readonly PlannableRow[]): Promise<Set<string>>;
    /** The submissions stamped inside each row's period. */
    stampedIn(rows: readonly PlannableRow[]): Promise<ReadonlyMap<PlannableRow, readonly StampedEntry[]>>;
    nextFigure(
      row: PlannableRow,
      meter: Meter,
      context: { readonly customer: BillingCustomer; readonly endedByMs: number; readonly mode: SubmissionMode },
    ): Promise<NextFigure | undefined>;
  };
  readonly relatedRows: {
    /** Every window of the hour that a window lies in, of its customer and meter. */
    hourOf(row: PlannableRow): Promise<PlannableRow[]>;
  };
  /** The hours of a customer, from one on, that wait to be derived. */
  waitingHours(customerId: string, fromHour: EpochHour): Promise<Set<EpochHour>>;
  billingOf(customerIds: readonly string[]): Promise<Map<string, BillingCustomer>>;
  /** The periods whose invoices are final, by our customer; those that have none may be left out. */
  finalPeriods(customers: readonly BillingCustomer[]): Promise<ReadonlyMap<string, readonly FinalMeterPeriod[]>>;
  readonly installation: string;
}

export interface PlanRowsContext {
  readonly meters: ReadonlyMap<string, Meter>;
  /** By event name. */
  readonly stripeMeters: ReadonlyMap<string, DestinationMeter>;
  /** Windows that end later are left for the next time. */
  readonly endedByMs: number;
  readonly nowMs: number;
}

/** Steps of one running figure that are planned together: a long catch-up then has few of them to wait for. */
const STEPS_MAX = 50;

/** What can be done about a row now; `plan` is absent where nothing can, or nothing has to be. */
interface Step {
  readonly row: PlannableRow;
  readonly plan?: RowPlan;
}

/** Plans windows of additive meters: each by itself, but together those between which a changed calendar moved usage. */
export async function planWindows(
  deps: PlanRowsDeps,
  rows: readonly PlannableRow[],
  context: PlanRowsContext,
): Promise<RowPlan[]> {
  const planner = await RowPlanner.open(deps, rows, context);
  const isReshaped = (row: PlannableRow): boolean => {
    const customer = planner.customers.get(row.customerId);
    return customer !== undefined && isReshapedHour(customer, row);
  };
  const plans = plansOf(await planner.steps(rows.filter((row) => !isReshaped(row))));
  const units = groupBy(rows.filter(isReshaped), (row) => `${keyOf(row)}\u001f${epochHourOf(row.startMs)}`);
  for (const [first] of units.values()) if (first !== undefined) plans.push(...(await planner.hour(first)));
  return plans;
}

/**
 * Plans running figures of periods, each by itself: a changed calendar moves no figure from one to another, since what
 * was planned of each is counted from stamps. Periods that were there before it changed are taken over first.
 */
export async function planPeriods(
  deps: PlanRowsDeps,
  rows: readonly PlannableRow[],
  context: PlanRowsContext,
): Promise<RowPlan[]> {
  const planner = await RowPlanner.open(deps, rows, context);
  const former = rows.filter(({ isFormer }) => isFormer === true);
  const counted = await planner.count(rows.filter(({ isFormer }) => isFormer !== true));
  const taken = [...former, ...counted].flatMap((row) => planner.takeOver(row));
  const byRow = new Map(taken.map((plan) => [plan.row, plan]));
  // Where the figure is another, its steps follow the entry that takes the period over.
  const open = counted.flatMap((row) => {
    const plan = byRow.get(row);
    return (plan === undefined ? row : rowTakenOver(row, plan)) ?? [];
  });
  return [...taken, ...(await planner.chains(open))];
}

/** Names the customer and meter of a row. */
export function keyOf(row: { customerId: string; meter: string }): string {
  return `${row.customerId}\u001f${row.meter}`;
}

function plansOf(steps: readonly Step[]): RowPlan[] {
  return steps.flatMap(({ plan }) => (plan === undefined ? [] : [plan]));
}

class RowPlanner {
  readonly #deps: PlanRowsDeps;
  readonly #context: PlanRowsContext;
  readonly #finals: ReadonlyMap<string, readonly FinalMeterPeriod[]>;
  readonly customers: ReadonlyMap<string, BillingCustomer>;

  private constructor(
    deps: PlanRowsDeps,
    context: PlanRowsContext,
    known: {
      customers: ReadonlyMap<string, BillingCustomer>;
      finals: ReadonlyMap<string, readonly FinalMeterPeriod[]>;
    },
  ) {
    this.#deps = deps;
    this.#context = context;
    this.#finals = known.finals;
    this.customers = known.customers;
  }

  /** Customers are read after the rows: a row derived under a new calendar is never planned under the one before. */
  static async open(deps: PlanRowsDeps, rows: readonly PlannableRow[], context: PlanRowsContext): Promise<RowPlanner> {
    const customers = await deps.billingOf([...new Set(rows.map(({ customerId }) => customerId))]);
    const finals = await deps.finalPeriods([...customers.values()]);
    return new RowPlanner(deps, context, { customers, finals });
  }

  /** How a period is taken over that was there before the calendar changed, if it was. */
  takeOver(row: PlannableRow): TakeOver[] {
    const customer = this.customers.get(row.customerId);
    const plan = customer && planTakeOver(row, { customer, installation: this.#deps.installation });
    return plan === undefined ? [] : [plan];
  }

  /** The rows with what was planned of them: counted from stamps where the customer's calendar ever changed. */
  async count(rows: readonly PlannableRow[]): Promise<PlannableRow[]> {
    const changed = rows.filter((row) => {
      const customer = this.customers.get(row.customerId);
      return customer !== undefined && customer.calendars.length > 1 && isPresentPeriod(customer, row);
    });
    const entries = changed.length === 0 ? undefined : await this.#deps.outbox.stampedIn(changed);
    return rows.map((row) => {
      const mode = this.#modeOf(row);
      const stamped = entries?.get(row);
      return stamped === undefined ? inMode(row, mode) : countStamps(row, stamped, mode);
    });
  }

  #modeOf(row: PlannableRow): SubmissionMode {
    const meter = this.#context.meters.get(row.meter);
    return meter === undefined ? 'delta' : modeOf(meter, this.#context.stripeMeters.get(meter.stripe?.eventName ?? ''));
  }

  async steps(rows: readonly PlannableRow[]): Promise<Step[]> {
    const unanswered = await this.#deps.outbox.unanswered(rows);
    const steps: Step[] = [];
    for (const row of rows) {
      // At most one submission of a row is unanswered: the next waits for it.
      const isUnanswered = unanswered.has(row.planned?.identifier ?? '');
      const plan = isUnanswered ? undefined : await this.#plan(row);
      steps.push({ row, ...(plan !== undefined && { plan }) });
    }
    return steps;
  }

  /** Like `steps`, and the steps that follow where they do not depend on Stripe's answers, in order. */
  async chains(rows: readonly PlannableRow[]): Promise<RowPlan[]> {
    const plans: RowPlan[] = [];
    for (const { plan } of await this.steps(rows)) {
      let last = plan;
      for (let steps = 1; last !== undefined; steps += 1) {
        plans.push(last);
        const row = steps < STEPS_MAX ? rowAfter(last) : undefined;
        const next = row && (await this.#plan(row));
        last = next?.kind === 'submit' ? next : undefined;
      }
    }
    return plans;
  }

  async #plan(row: PlannableRow): Promise<RowPlan | undefined> {
    const { meters, endedByMs } = this.#context;
    const meter = meters.get(row.meter);
    const customer = this.customers.get(row.customerId);
    if (meter === undefined || customer === undefined) return undefined;
    if (row.subject === 'window' && row.endMs > endedByMs) return undefined;
    const mode = this.#modeOf(row);
    const next = await this.#deps.outbox.nextFigure(row, meter, { customer, endedByMs, mode });
    if (next === undefined) {
      return (row.planned?.quantity ?? '0') === row.quantity ? settled(row, this.#deps.installation) : undefined;
    }
    const stamped = mode === 'delta' ? next : this.#stampLater(row, next);
    return stamped === undefined ? undefined : this.#planTo(row, stamped, { customer, meter, mode });
  }

  /** A running figure in place of the one before: undefined while no stamp is left for it. */
  #stampLater(row: PlannableRow, { quantity, atMs }: NextFigure): NextFigure | undefined {
    const at = { earlierMs: row.planned?.atMs, endMs: row.endMs, nowMs: this.#context.nowMs };
    const stampMs = runningStampMs(atMs, at);
    return stampMs === undefined ? undefined : { quantity, atMs: stampMs };
  }

  #planTo(
    row: PlannableRow,
    next: NextFigure,
    of: { customer: BillingCustomer; meter: Meter; mode: SubmissionMode },
  ): RowPlan {
    const { customer, meter, mode } = of;
    const context = {
      customer,
      mode,
      installation: this.#deps.installation,
      nowMs: this.#context.nowMs,
      finals: this.#finals.get(row.customerId) ?? [],
      policy: meter.lateUsage,
    };
    const step = planRow(row, next, context);
    // Late usage of a period that a changed calendar made is one difference to decide about, not one for each window.
    const isOne = step.kind === 'late' && row.isCounted === true;
    const plan = isOne ? planRow(row, { ...next, quantity: row.quantity }, context) : step;
    if (plan.kind === 'settled' || row.subject === 'window' || isPresentPeriod(customer, row)) return plan;
    const stampMs = plan.submission.timestampMs;
    return { ...plan, stampedIn: presentPeriodsOver(customer, { fromMs: stampMs, toMs: stampMs + 1 }) };
  }

  /** The windows of an hour that an earlier calendar cut differently. */
  async hour(first: PlannableRow): Promise<RowPlan[]> {
    const read = (): Promise<PlannableRow[]> => this.#deps.relatedRows.hourOf(first);
    const rows = await this.#readWhole(first, read, unsureOfHour);
    if (rows === undefined) return [];
    const steps = await this.steps(rows);
    return movesUsage(rows) ? together(steps) : plansOf(steps);
  }

  /** Reads rows that belong together; undefined while some of them may not be derived yet. */
  async #readWhole(
    first: PlannableRow,
    read: () => Promise<PlannableRow[]>,
    unsureOf: (customer: BillingCustomer, rows: readonly PlannableRow[]) => Period[],
  ): Promise<PlannableRow[] | undefined> {
    const customer = this.customers.get(first.customerId);
    const rows = await read();
    if (customer === undefined || rows.some(({ layout }) => layout > currentCalendar(customer).layout))
      return undefined;
    const unsure = unsureOf(customer, rows);
    if (unsure.length === 0) return rows;
    const fromHour = epochHourOf(Math.min(...unsure.map(({ fromMs }) => fromMs)));
    const waiting = [...(await this.#deps.waitingHours(first.customerId, fromHour))];
    const isWaiting = waiting.some((hour) =>
      unsure.some(({ fromMs, toMs }) => hour >= epochHourOf(fromMs) && hour <= epochHourOf(toMs - 1)),
    );
    // What the journal named when `rows` were read may have been derived before it was asked.
    return isWaiting ? undefined : read();
  }
}

/** Plans between which usage moved: all of them or none now, and all late where one is. */
function together(steps: readonly Step[]): RowPlan[] {
  const isHeld = steps.some(({ row, plan }) => plan === undefined && row.quantity !== (row.planned?.quantity ?? '0'));
  return isHeld ? [] : asUnit(plansOf(steps));
}

/**
 * The row once a step is planned; undefined where nothing can follow before Stripe has answered. Differences add up in
 * any order; a figure that takes the place of the one before does not.
 */
function rowAfter(plan: RowPlan): PlannableRow | undefined {
  if (plan.kind !== 'submit' || plan.complete) return undefined;
  const { row, submission, stampedIn } = plan;
  const { mode, blocked, sequence, identifier, timestampMs, toQuantity } = submission;
  if (mode !== undefined || blocked !== undefined || stampedIn !== undefined) return undefined;
  // Where what was planned is counted from stamps, it stands at the latest of them.
  const atMs = row.isCounted === true ? Math.max(row.planned?.atMs ?? timestampMs, timestampMs) : timestampMs;
  return { ...row, planned: { sequence, identifier, quantity: toQuantity, atMs } };
}

/** The row as it is in a mode: what was planned in another went to another Stripe meter. */
function inMode(row: PlannableRow, mode: SubmissionMode): PlannableRow {
  const { planned } = row;
  if (planned === undefined || (planned.mode ?? 'delta') === mode) return row;
  return { ...row, planned: { ...planned, quantity: '0', identifier: '' } };
}

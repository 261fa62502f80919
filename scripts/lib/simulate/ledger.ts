import { isAdditive } from '../../../src/meters/meter.ts';
import { isWithin, type Period } from '../../../src/customers/calendar/period.ts';
import { addQuantities, canonicalQuantity, type Quantity, subtractQuantities } from '../../../src/platform/quantity.ts';
import { DELIVERED_STATES } from '../../../src/submissions/submission.ts';
import { type EpochHour, epochHourOf } from '../../../src/customers/calendar/window.ts';
import type { LateUsageDocument } from '../../../src/submissions/late-usage-store.ts';
import type { MeterSubmissionDocument } from '../../../src/submissions/meter-submissions-store.ts';
import type { ReconciliationDocument, ReconciliationRow } from '../../../src/reconciliation/reconciliations-store.ts';
import type { FigureScope } from './facts.ts';
import { type Drift, placeDrift } from './place-drift.ts';
import type { World } from './world.ts';

/** States whose value is not at Stripe and is listed by state for a person to see. */
const VISIBLE_STATES = ['blocked', 'rejected', 'in_doubt'];
/** A successor carries the value of its original once more. */
const SUCCESSOR = /~\d+$/;

type Row = { readonly _id: { customerId: string; meter: string }; readonly quantity: { toString(): string } };

/** What was stamped in a period besides what is at Stripe. */
export interface Stamped {
  /** Late usage of other periods that was billed with this one. */
  readonly moved: Quantity;
  /** Late usage that is not at Stripe with this stamp, whatever was decided about it. */
  readonly undelivered: Quantity;
  /** Submissions that are not at Stripe and wait in sight, and drift of final invoices that a person was told of. */
  readonly visible: Quantity;
}

/** A running figure and its stamp, UTC milliseconds. */
export interface ListedFigure {
  readonly atMs: number;
  readonly figure: Quantity;
}

/** A submission that is sent again, because Stripe seemed to have lost it. */
export interface MissedSubmission {
  readonly identifier: string;
  readonly hour: EpochHour;
  readonly quantity: Quantity;
}

/** Everything that the daemon's books say, as of one moment. */
export class Ledger {
  readonly #submissions: readonly MeterSubmissionDocument[];
  readonly #late: readonly LateUsageDocument[];
  readonly #left: readonly Drift[];
  readonly #rows: { readonly windows: readonly Row[]; readonly periods: readonly Row[] };

  private constructor(read: {
    submissions: readonly MeterSubmissionDocument[];
    late: readonly LateUsageDocument[];
    left: readonly Drift[];
    windows: readonly Row[];
    periods: readonly Row[];
  }) {
    this.#submissions = read.submissions;
    this.#late = read.late;
    this.#left = read.left;
    this.#rows = read;
  }

  static async read(world: World): Promise<Ledger> {
    const { db } = world.database;
    const submissions = await db.collection<MeterSubmissionDocument>('meter_submissions').find().toArray();
    const late = await db.collection<LateUsageDocument>('late_usage').find().toArray();
    return new Ledger({
      submissions,
      late,
      left: placeDrift(await leftDrift(db), [...unnoticed(world, submissions), ...lateHeals(late)]),
      windows: await db.collection<Row>('usage_aggregates').find().toArray(),
      periods: await db.collection<Row>('usage_periods').find().toArray(),
    });
  }

  /** What the rows of a customer and meter come to: its windows, or its periods where windows do not add up. */
  aggregated({ customerId, meter }: FigureScope): Quantity {
    const rows = isAdditive(meter.aggregation) ? this.#rows.windows : this.#rows.periods;
    const own = rows.filter(({ _id }) => _id.customerId === customerId && _id.meter === meter.key);
    return addQuantities('0', ...own.map(({ quantity }) => canonicalQuantity(String(quantity))));
  }

  /** Every stamp of a customer's meter, UTC milliseconds. */
  stampsOf(scope: FigureScope): number[] {
    return [...ofScope(this.#submissions, scope), ...ofScope(this.#late, scope)].map(({ timestamp }) =>
      timestamp.getTime(),
    );
  }

  /** Late usage of a customer's meter that was stamped in a period. */
  lateIn(scope: FigureScope, period: Period): LateUsageDocument[] {
    return ofScope(this.#late, scope).filter(({ timestamp }) => isWithin(period, timestamp.getTime()));
  }

  /** What was stamped in a period, for a meter whose submissions add up at Stripe. */
  stampedIn(scope: FigureScope, period: Period): Stamped {
    const submissions = this.#submissionsIn(scope, period);
    const left = ofScope(this.#left, scope).filter(({ timestamp }) => isWithin(period, timestamp.getTime()));
    const moved = submissions.filter(({ _id, subject }) => subject === 'late' && !SUCCESSOR.test(_id));
    const undelivered = this.lateIn(scope, period).filter(({ reason }) => reason !== 'accepted_after_finalization');
    return {
      moved: sum(moved.map(({ value }) => value)),
      undelivered: sum(undelivered.map(({ quantity }) => quantity)),
      visible: addQuantities(
        sum(submissions.filter(({ state }) => VISIBLE_STATES.includes(state)).map(({ value }) => value)),
        sum(left.map(({ quantity }) => quantity)),
      ),
    };
  }

  /** What was stamped in a period and is sent again, because Stripe seemed to have lost it. */
  missedIn(scope: FigureScope, period: Period): MissedSubmission[] {
    return this.#submissionsIn(scope, period)
      .filter(({ state, history }) => state === 'replaced' && history.at(-1)?.reason === 'missing_at_stripe')
      .map(({ _id, timestamp, value }) => ({
        identifier: _id,
        hour: epochHourOf(timestamp.getTime()),
        quantity: canonicalQuantity(value.toString()),
      }));
  }

  /** Whether a person was told of a drift in the hour of an instant. */
  hasDriftAt(scope: FigureScope, at: Date): boolean {
    const hour = epochHourOf(at.getTime());
    return ofScope(this.#left, scope).some(({ timestamp }) => epochHourOf(timestamp.getTime()) === hour);
  }

  /** The running figures of a period that wait in sight, or are late. */
  listedIn(scope: FigureScope, period: Period, isUnbilled: (late: LateUsageDocument) => boolean): ListedFigure[] {
    const waiting = this.#submissionsIn(scope, period).filter(({ state }) => VISIBLE_STATES.includes(state));
    return [...waiting, ...this.lateIn(scope, period).filter(isUnbilled)].map(({ timestamp, toQuantity }) => ({
      atMs: timestamp.getTime(),
      figure: canonicalQuantity(toQuantity.toString()),
    }));
  }

  #submissionsIn(scope: FigureScope, period: Period): MeterSubmissionDocument[] {
    return ofScope(this.#submissions, scope).filter(({ timestamp }) => isWithin(period, timestamp.getTime()));
  }
}

/** What Stripe took and rejected later without a word that arrived, less what heals brought. */
function unnoticed({ simulator }: World, submissions: readonly MeterSubmissionDocument[]): Drift[] {
  const outcomes = new Map(simulator.meterEvents().map(({ identifier, outcome }) => [identifier, outcome]));
  return submissions
    .filter(({ state }) => DELIVERED_STATES.includes(state))
    .flatMap(({ _id, subject, customerId, meter, timestamp, value }) => {
      const isLost = outcomes.get(_id) === 'rejected';
      const isHeal = subject === 'heal';
      // A heal that was lost brought nothing, and what is no heal and was not lost is where it belongs.
      if (isLost === isHeal) return [];
      const lost = canonicalQuantity(value.toString());
      return [{ customerId, meter, timestamp, quantity: isHeal ? subtractQuantities('0', lost) : lost }];
    });
}

/** Heals that came too late stand on their list for the drift that they were to close. */
function lateHeals(late: readonly LateUsageDocument[]): Drift[] {
  return late
    .filter(({ subject, reason }) => subject === 'heal' && reason !== 'accepted_after_finalization')
    .map(({ customerId, meter, timestamp, quantity }) => {
      return {
        customerId,
        meter,
        timestamp,
        quantity: subtractQuantities('0', canonicalQuantity(quantity.toString())),
      };
    });
}

/** From the latest comparison of each customer's meter and period. */
async function leftDrift(db: World['database']['db']): Promise<Drift[]> {
  const runs = await db.collection<ReconciliationDocument>('reconciliations').find().sort({ startedAt: 1 }).toArray();
  const rows = await db.collection<ReconciliationRow>('reconciliation_rows').find().toArray();
  const order = new Map(runs.map(({ _id }, index) => [_id, index]));
  const inOrder = rows.sort((a, b) => (order.get(a._id.run) ?? 0) - (order.get(b._id.run) ?? 0));
  const latest = new Map(
    inOrder.map((row) => [JSON.stringify([row._id.customerId, row._id.meter, row._id.periodStart]), row]),
  );
  return [...latest.values()].flatMap(({ _id: { customerId, meter, periodStart }, plan }) =>
    plan.flatMap((action) => {
      if (action.kind !== 'person' || action.reason !== 'invoice_final') return [];
      // The period may begin within the first minute of what was compared.
      const timestamp = new Date(Math.max(action.hourMs, periodStart.getTime()));
      return [{ customerId, meter, timestamp, quantity: action.quantity }];
    }),
  );
}

function ofScope<T extends { customerId: string; meter: string }>(from: readonly T[], scope: FigureScope): T[] {
  return from.filter(({ customerId, meter }) => customerId === scope.customerId && meter === scope.meter.key);
}

function sum(values: readonly { toString(): string }[]): Quantity {
  return addQuantities('0', ...values.map((value) => canonicalQuantity(value.toString())));
}

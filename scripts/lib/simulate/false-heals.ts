import { addQuantities, canonicalQuantity, equalQuantities, type Quantity } from '../../../src/platform/quantity.ts';
import { epochHourOf } from '../../../src/customers/calendar/window.ts';
import type { MeterSubmissionDocument } from '../../../src/submissions/meter-submissions-store.ts';
import type { World } from './world.ts';

/**
 * Looks for submissions that were replaced although Stripe counts them. Stripe tells totals of hours: of two submissions
 * with one value nobody can tell which was lost, nor whether two that cancel each other out were. A running figure in the
 * mode `period_total` may be replaced at any time: its successor takes its place.
 */
export class FalseHeals {
  readonly found: string[] = [];
  readonly #world: World;
  readonly #known = new Set<string>();

  constructor(world: World) {
    this.#world = world;
  }

  async look(): Promise<void> {
    const { database, simulator } = this.#world;
    const submissions = await database.db
      .collection<MeterSubmissionDocument>('meter_submissions')
      .find({ mode: { $ne: 'period_total' } })
      .toArray();
    const counted = new Set(
      simulator.meterEvents().flatMap(({ identifier, outcome }) => (outcome === 'counted' ? [identifier] : [])),
    );
    const isFalse = ({ _id, state }: MeterSubmissionDocument): boolean => state === 'replaced' && counted.has(_id);
    const isLost = ({ _id, state, firstAttemptAt }: MeterSubmissionDocument): boolean =>
      state !== 'replaced' && firstAttemptAt !== undefined && !counted.has(_id);
    for (const submission of submissions.filter(isFalse)) {
      const { _id, history } = submission;
      if (this.#known.has(_id)) continue;
      this.#known.add(_id);
      const ofHour = submissions.filter((other) => isOfSameHour(submission, other));
      if (isSwap(ofHour.filter(isFalse), ofHour.filter(isLost))) continue;
      this.found.push(`${_id} was replaced (${history.at(-1)?.reason ?? ''}) while it counts`);
    }
  }
}

/** Whether Stripe's total of the hour is the same as if those that were lost had been replaced. */
function isSwap(replaced: readonly MeterSubmissionDocument[], lost: readonly MeterSubmissionDocument[]): boolean {
  const sum = sumOf(replaced);
  return ['0', sumOf(lost), ...lost.map((one) => sumOf([one]))].some((value) => equalQuantities(value, sum));
}

function sumOf(submissions: readonly MeterSubmissionDocument[]): Quantity {
  return addQuantities('0', ...submissions.map(({ value }) => canonicalQuantity(value.toString())));
}

function isOfSameHour(one: MeterSubmissionDocument, other: MeterSubmissionDocument): boolean {
  return (
    other.customerId === one.customerId &&
    other.meter === one.meter &&
    epochHourOf(other.timestamp.getTime()) === epochHourOf(one.timestamp.getTime())
  );
}

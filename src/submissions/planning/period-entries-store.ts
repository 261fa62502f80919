import type { Collection, Db } from 'mongodb';
import { groupBy } from '../../platform/grouping.ts';
import { canonicalQuantity } from '../../platform/quantity.ts';
import type { StampedEntry } from './stamped-figure.ts';
import type { PlannableRow } from './submission-plan.ts';
import { OPERATION_MS_MAX } from '../../platform/mongo/database.ts';
import { translated } from '../../platform/mongo/errors.ts';
import { METER_SUBMISSIONS, type MeterSubmissionDocument } from '../meter-submissions-store.ts';

/** Periods that one statement asks for. */
const PERIODS_PER_STATEMENT = 100;

/** Submissions of running figures by where they are stamped. */
export class PeriodEntries {
  readonly #collection: Collection<MeterSubmissionDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<MeterSubmissionDocument>(METER_SUBMISSIONS);
  }

  /** The submissions stamped inside each row's period; those that replace another are left out, since both are one. */
  async stampedIn(rows: readonly PlannableRow[]): Promise<Map<PlannableRow, StampedEntry[]>> {
    const entries = new Map<PlannableRow, StampedEntry[]>();
    for (let from = 0; from < rows.length; from += PERIODS_PER_STATEMENT) {
      const some = rows.slice(from, from + PERIODS_PER_STATEMENT);
      const found = groupBy(await this.#read(some), keyOf);
      for (const row of some) {
        const inside = (found.get(keyOf(row)) ?? []).filter(
          ({ timestamp }) => timestamp.getTime() >= row.startMs && timestamp.getTime() < row.endMs,
        );
        entries.set(row, inside.map(toEntry));
      }
    }
    return entries;
  }

  #read(rows: readonly PlannableRow[]): Promise<MeterSubmissionDocument[]> {
    const ranges = rows.map(({ customerId, meter, startMs, endMs }) => ({
      customerId,
      meter,
      timestamp: { $gte: new Date(startMs), $lt: new Date(endMs) },
      subject: 'period' as const,
      replaces: { $exists: false },
    }));
    return translated(this.#collection.find({ $or: ranges }).maxTimeMS(OPERATION_MS_MAX).toArray());
  }
}

function keyOf({ customerId, meter }: { customerId: string; meter: string }): string {
  return `${customerId}\u001f${meter}`;
}

function toEntry({ _id, value, timestamp, mode }: MeterSubmissionDocument): StampedEntry {
  return {
    identifier: _id,
    value: canonicalQuantity(value.toString()),
    timestampMs: timestamp.getTime(),
    mode: mode ?? 'delta',
  };
}

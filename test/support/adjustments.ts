/** Adjustments as the daemon records them, in a few words. */
import type { Db } from 'mongodb';
import { recordAdjustment, type RecordAdjustmentResult } from '../../src/usage/record-adjustment.ts';
import { ManualClock } from '../../src/platform/clock.ts';
import type { AdjustmentInput } from '../../src/usage/adjustment.ts';
import { Customers } from '../../src/customers/customers-store.ts';
import { DirtyHours, toPairText } from '../../src/usage/dirty-hours-store.ts';
import { Meters, toMeter } from '../../src/meters/meters-store.ts';
import { UsageAdjustments } from '../../src/usage/usage-adjustments-store.ts';
import { ms } from './usage.ts';

let count = 0;

/** Records an adjustment of `acme`, but for what is given; its journal entry waits afterwards. */
export function adjust(
  db: Db,
  given: Partial<AdjustmentInput> & Pick<AdjustmentInput, 'meter' | 'quantity' | 'occurredAt'>,
): Promise<RecordAdjustmentResult> {
  count += 1;
  const adjustment = {
    idempotencyKey: `adjustment-${String(count).padStart(8, '0')}`,
    customerId: 'acme',
    reason: 'a test',
    actor: 'the test',
    ...given,
  };
  const journal = new DirtyHours(db);
  return recordAdjustment(
    {
      clock: new ManualClock(ms('2026-11-21T05:30:00Z')),
      findMeter: async (key) => {
        const found = await new Meters(db).find(key);
        return found === null ? undefined : toMeter(found);
      },
      billingOf: (ids) => new Customers(db).billingOf(ids),
      isKnownCustomer: () => Promise.resolve(false),
      journal: {
        open: (hour, at) => journal.open([toPairText(hour)], at),
        close: (entry, hour, at) => journal.close(entry, [toPairText(hour)], at),
      },
      adjustments: new UsageAdjustments(db),
    },
    { adjustment, ageMsMax: Number.MAX_SAFE_INTEGER, isNewCustomer: true },
  );
}

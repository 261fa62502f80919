import type { Db, Decimal128 } from 'mongodb';
import { canonicalQuantity, type Quantity } from '../platform/quantity.ts';
import { translated } from '../platform/mongo/errors.ts';
import { LATE_USAGE, type LateUsageDocument } from '../submissions/late-usage-store.ts';
import type { LedgerScope } from '../submissions/ledger-store.ts';
import { METER_SUBMISSIONS, type MeterSubmissionDocument } from '../submissions/meter-submissions-store.ts';
import { rangeFilter, USAGE_AGGREGATES, type UsageAggregateDocument } from '../aggregation/usage-aggregates-store.ts';
import { periodKey, USAGE_PERIODS, type UsagePeriodDocument } from '../aggregation/usage-periods-store.ts';

/** What of a period has not reached Stripe, or reached it too late. */
export class UnfinishedUsage {
  readonly #db: Db;

  constructor(db: Db) {
    this.#db = db;
  }

  /** Whether something of a range is still to be planned or sent; what cannot be sent now does not count. */
  async isUnsent(scope: LedgerScope, isAdditive: boolean): Promise<boolean> {
    return (await this.#isPlanDue(scope, isAdditive)) || (await this.#isOnItsWay(scope));
  }

  async #isPlanDue({ customerId, meter, fromMs, toMs }: LedgerScope, isAdditive: boolean): Promise<boolean> {
    const [from, to] = [new Date(fromMs), new Date(toMs)];
    const projection = { _id: 1 } as const;
    if (isAdditive) {
      const windows = { _id: rangeFilter({ customerId, meter, from, to }), planDue: true as const };
      const rows = this.#db.collection<UsageAggregateDocument>(USAGE_AGGREGATES);
      return (await translated(rows.findOne(windows, { projection }))) !== null;
    }
    const periods = {
      _id: { $gte: periodKey(customerId, meter, from), $lt: periodKey(customerId, meter, to) },
      planDue: true as const,
    };
    const rows = this.#db.collection<UsagePeriodDocument>(USAGE_PERIODS);
    return (await translated(rows.findOne(periods, { projection }))) !== null;
  }

  async #isOnItsWay({ customerId, meter, fromMs, toMs }: LedgerScope): Promise<boolean> {
    const submissions = this.#db.collection<MeterSubmissionDocument>(METER_SUBMISSIONS);
    const found = submissions.findOne(
      {
        customerId,
        meter,
        timestamp: { $gte: new Date(fromMs), $lt: new Date(toMs) },
        $or: [{ state: { $in: ['planned', 'sending'] } }, { state: 'in_doubt', dueAt: { $exists: true } }],
      },
      { projection: { _id: 1 } },
    );
    return (await translated(found)) !== null;
  }

  /** What Stripe took with stamps in a range after their invoice was final: it is in the summaries and on no invoice. */
  async unbilled({ customerId, meter, fromMs, toMs }: LedgerScope): Promise<Quantity> {
    const timestamp = { $gte: new Date(fromMs), $lt: new Date(toMs) };
    const found = this.#db
      .collection<LateUsageDocument>(LATE_USAGE)
      .aggregate<{ quantity: Decimal128 | number }>([
        { $match: { customerId, meter, timestamp, reason: 'accepted_after_finalization' } },
        { $group: { _id: null, quantity: { $sum: '$quantity' } } },
      ]);
    const [sum] = await translated(found.toArray());
    return canonicalQuantity((sum?.quantity ?? 0).toString());
  }
}

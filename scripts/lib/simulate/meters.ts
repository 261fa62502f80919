import type { Aggregation } from '../../../src/meters/meter.ts';
import { openStripe } from '../../../src/stripe/client.ts';
import { meterBody } from '../torture/target.ts';
import type { Dice } from './dice.ts';
import type { World } from './world.ts';

/** A meter of a week. */
export interface WeekMeter {
  readonly key: string;
  readonly aggregation: Aggregation;
  /** Of the Stripe meter. One that keeps the last value is sent the running figure itself (mode `period_total`). */
  readonly formula: 'sum' | 'last';
  readonly lateUsage: 'review' | 'next_period';
}

/** One meter of each aggregation; how Stripe takes running figures, and what becomes of late usage, is thrown. */
export function throwMeters(dice: Dice): readonly WeekMeter[] {
  const meter = (key: string, aggregation: Aggregation, lastShare: number): WeekMeter => ({
    key,
    aggregation,
    formula: dice.chance(lastShare) ? 'last' : 'sum',
    lateUsage: dice.chance(0.5) ? 'review' : 'next_period',
  });
  return [
    meter('calls', 'sum', 0),
    meter('requests', 'count', 0),
    meter('peak', 'max', 0.3),
    meter('level', 'last', 0.6),
    meter('users', 'unique', 0.3),
  ];
}

/** Registers the meters at both ends: those that keep the last value are made at Stripe by a person. */
export async function registerMeters(
  world: World,
  meters: readonly WeekMeter[],
  effectiveFromMs: number,
): Promise<void> {
  const stripe = openStripe({ secretKey: 'sk_test_person', apiBase: world.simulator.url });
  for (const { key, aggregation, formula, lateUsage } of meters) {
    await world.putMeter(key, { ...meterBody({ key, aggregation }, effectiveFromMs), lateUsage });
    if (formula === 'sum') continue;
    await stripe.billing.meters.create({ event_name: key, display_name: key, default_aggregation: { formula } });
  }
  await world.run('sync-meters');
}

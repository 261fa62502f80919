import { isAdditive } from '../../../src/domain/meter.ts';
import { billingPeriodOf } from '../../../src/domain/billing-customer.ts';
import {
  addQuantities,
  canonicalQuantity,
  compareQuantities,
  equalQuantities,
  type Quantity,
} from '../../../src/domain/quantity.ts';
import { METERS, type Week } from './week.ts';
import type { SentEvent, World } from './world.ts';

type Aggregation = (typeof METERS)[number]['aggregation'];
type Stored = { readonly quantity: { toString(): string } };

/** States whose value is not at Stripe and is listed by state for a person to see. */
const VISIBLE_STATES = ['blocked', 'rejected', 'in_doubt'];
const HEAL_REASON = 'missing_at_stripe';

/** One customer's meter: what was sent, what the aggregates say, what Stripe counted, and what waits in sight. */
interface Halves {
  readonly raw: Quantity;
  readonly local: Quantity;
  readonly stripe: Quantity;
  readonly visible: Quantity;
}

/**
 * Lays the two halves side by side. Returns what does not match: usage has to be at Stripe, or on a visible list, once.
 */
export async function compareHalves(world: World, week: Week): Promise<string[]> {
  const differences: string[] = [];
  for (const customerId of week.customers) {
    for (const meter of METERS) {
      const halves = await halvesOf(world, week, { customerId, ...meter });
      const { raw, local, stripe, visible } = halves;
      const name = `${customerId} ${meter.key}`;
      if (!equalQuantities(raw, local)) differences.push(`${name}: raw ${raw}, aggregates ${local}`);
      if (!equalQuantities(local, addQuantities(stripe, visible))) {
        differences.push(`${name}: aggregates ${local}, Stripe ${stripe}, on visible lists ${visible}`);
      }
    }
  }
  return differences;
}

async function halvesOf(
  world: World,
  week: Week,
  of: { customerId: string; key: string; aggregation: Aggregation },
): Promise<Halves> {
  const { db } = world.database;
  const customers = await world.parts.stores.customers.billingOf([of.customerId]);
  const customer = customers.get(of.customerId);
  if (customer === undefined) throw new Error(`no customer ${of.customerId}`);
  const events = week.sent.filter(({ customerId }) => customerId === of.customerId);
  const byPeriod = new Map<number, SentEvent[]>();
  for (const event of events) {
    const { fromMs } = billingPeriodOf(customer, Date.parse(event.occurredAt));
    byPeriod.set(fromMs, [...(byPeriod.get(fromMs) ?? []), event]);
  }
  const filter = { '_id.customerId': of.customerId, '_id.meter': of.key };
  const rows = await db
    .collection<Stored>(isAdditive(of.aggregation) ? 'usage_aggregates' : 'usage_periods')
    .find(filter)
    .toArray();
  const own = { customerId: of.customerId, meter: of.key };
  const waiting = await db
    .collection('meter_submissions')
    .find({ ...own, state: { $in: VISIBLE_STATES } })
    .toArray();
  const late = await db
    .collection('late_usage')
    .find({ ...own, state: { $in: ['waiting', 'dismissed'] } })
    .toArray();
  const stripeCustomer = customer.stripeCustomerId ?? '';
  const adjusted = week.adjusted.filter(({ customerId, meter }) => customerId === of.customerId && meter === of.key);
  return {
    raw: addQuantities(
      '0',
      ...[...byPeriod.values()].map((inPeriod) => figureOf(of.aggregation, inPeriod)),
      ...adjusted.map(({ quantity }) => canonicalQuantity(String(quantity))),
    ),
    local: addQuantities('0', ...rows.map(({ quantity }) => canonicalQuantity(String(quantity)))),
    stripe: canonicalQuantity(world.simulator.countedTotal({ customer: stripeCustomer, meter: of.key })),
    visible: addQuantities(
      '0',
      ...waiting.map((submission) => canonicalQuantity(String(submission['value']))),
      ...late.map((entry) => canonicalQuantity(String(entry['quantity']))),
    ),
  };
}

function figureOf(aggregation: Aggregation, events: readonly SentEvent[]): Quantity {
  switch (aggregation) {
    case 'sum':
      return addQuantities('0', ...events.map(({ quantity }) => canonicalQuantity(quantity)));
    case 'count':
      return String(events.length);
    case 'max':
      return events
        .map(({ quantity }) => canonicalQuantity(quantity))
        .reduce((greatest, next) => (compareQuantities(next, greatest) > 0 ? next : greatest), '0');
    case 'unique':
      return String(new Set(events.map(({ userId }) => userId)).size);
  }
}

/** Looks after each reconciliation for submissions that were replaced as missing although Stripe counts them. */
export class FalseHeals {
  readonly found: string[] = [];
  readonly #world: World;
  readonly #known = new Set<string>();

  constructor(world: World) {
    this.#world = world;
  }

  async look(): Promise<void> {
    const { database, simulator } = this.#world;
    const replaced = await database.db
      .collection<{ _id: string }>('meter_submissions')
      .find({ state: 'replaced', reason: HEAL_REASON })
      .toArray();
    const fresh = replaced.filter(({ _id }) => !this.#known.has(_id));
    if (fresh.length === 0) return;
    const counted = new Set(
      simulator.meterEvents().flatMap(({ identifier, outcome }) => (outcome === 'counted' ? [identifier] : [])),
    );
    for (const { _id } of fresh) {
      this.#known.add(_id);
      if (counted.has(_id)) this.found.push(`${_id} was replaced although Stripe counts it`);
    }
  }
}

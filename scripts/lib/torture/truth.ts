import { type BillingCustomer, billingPeriodOf } from '../../../src/customers/calendar/billing-customer.ts';
import type { Aggregation } from '../../../src/meters/meter.ts';
import {
  addQuantities,
  canonicalQuantity,
  compareQuantities,
  equalQuantities,
} from '../../../src/platform/quantity.ts';
import { HOUR_MS } from '../../../src/platform/durations.ts';
import type { Database } from '../../../src/platform/mongo/database.ts';
import type { SentAdjustment, SentEvent } from './usage-mill.ts';

/** A meter as far as the brute force needs to know it: it counts the event type `call`. */
export interface CountedMeter {
  readonly key: string;
  readonly aggregation: Aggregation;
  readonly isGrouped?: boolean;
}

/** What Stripe's double says it counted. */
export interface StripeTotal {
  readonly customer: string;
  readonly eventName: string;
  readonly total: string;
}

/** What is compared with what. */
export interface World {
  readonly db: Database['db'];
  readonly meters: readonly CountedMeter[];
  readonly billing: ReadonlyMap<string, BillingCustomer>;
  /** Events that were acknowledged, by key; every one has to be stored, once and as it was sent. */
  readonly acknowledged: ReadonlyMap<string, SentEvent>;
  /** Adjustments that were acknowledged, likewise. */
  readonly adjusted: ReadonlyMap<string, SentAdjustment>;
  readonly totals: readonly StripeTotal[];
}

interface RawFact {
  readonly _id: string;
  readonly customerId: string;
  readonly occurredAt: Date;
  readonly quantity: { toString(): string };
  readonly userId: string;
  readonly properties: { readonly region: string };
}

interface RawAdjustment {
  readonly _id: string;
  readonly customerId: string;
  readonly meter: string;
  readonly occurredAt: Date;
  readonly quantity: { toString(): string };
}

interface StoredRow {
  readonly _id: { readonly customerId: string; readonly meter: string; readonly [start: string]: unknown };
  readonly quantity: { toString(): string };
  readonly eventCount: number;
}

type Figures = Map<string, string>;

const DIFFERENCES_MAX = 20;
const UNDELIVERED = ['planned', 'sending', 'blocked', 'rejected', 'in_doubt'];

/** Every difference between what was acknowledged, raw, aggregates, submissions and Stripe; empty when all is well. */
export async function findDifferences(world: World): Promise<string[]> {
  const { db, meters, billing } = world;
  const facts = await db.collection<RawFact>('usage_events').find().toArray();
  const adjustments = await db.collection<RawAdjustment>('usage_adjustments').find().toArray();
  const differences = [
    ...compareFacts('event', world.acknowledged, facts),
    ...compareFacts('adjustment', world.adjusted, adjustments),
  ];
  const windows = derive(facts, meters, (fact) => Math.floor(fact.occurredAt.getTime() / HOUR_MS) * HOUR_MS);
  addAdjustments(windows, adjustments, '');
  differences.push(...compareFigures('window', windows, await storedFigures(db, 'usage_aggregates', 'windowStart')));
  const running = meters.filter((meter) => !isAdditive(meter));
  const periods = derive(facts, running, ({ customerId, occurredAt }) => {
    const customer = billing.get(customerId);
    return customer === undefined ? Number.NaN : billingPeriodOf(customer, occurredAt.getTime()).fromMs;
  });
  differences.push(...compareFigures('period', periods, await storedFigures(db, 'usage_periods', 'periodStart')));
  const grouped = meters.filter(({ isGrouped }) => isGrouped === true);
  const groups = deriveGroups(facts, grouped);
  const ofGrouped = adjustments.filter(({ meter }) => grouped.some(({ key }) => key === meter));
  addAdjustments(groups, ofGrouped, ' null');
  differences.push(...compareFigures('group', groups, await storedGroups(db)));
  differences.push(...compareTotals(world, { windows, periods }));
  for (const state of UNDELIVERED) {
    const count = await db.collection('meter_submissions').countDocuments({ state });
    if (count > 0) differences.push(`${count} submissions are ${state}`);
  }
  return differences.slice(0, DIFFERENCES_MAX);
}

/** Adjustments go straight to their meter, and belong to no group. */
function addAdjustments(figures: Figures, adjustments: readonly RawAdjustment[], group: string): void {
  for (const { customerId, meter, occurredAt, quantity } of adjustments) {
    const key = `${customerId} ${meter} ${Math.floor(occurredAt.getTime() / HOUR_MS) * HOUR_MS}${group}`;
    figures.set(key, addQuantities(figures.get(key) ?? '0', canonicalQuantity(String(quantity))));
  }
}

function compareFacts(
  kind: string,
  acknowledged: ReadonlyMap<string, Pick<SentEvent, 'quantity' | 'occurredAt'>>,
  facts: readonly Pick<RawFact, '_id' | 'quantity' | 'occurredAt'>[],
): string[] {
  const stored = new Map(facts.map((fact) => [fact._id.replace('\u001f', ' '), fact]));
  const differences: string[] = [];
  for (const [key, { quantity, occurredAt }] of acknowledged) {
    const fact = stored.get(key);
    if (fact === undefined) differences.push(`${kind} ${key} was acknowledged and is not stored`);
    else if (!equalQuantities(canonicalQuantity(String(fact.quantity)), canonicalQuantity(quantity))) {
      differences.push(`${kind} ${key} has the quantity ${String(fact.quantity)} instead of ${quantity}`);
    } else if (fact.occurredAt.toISOString() !== occurredAt)
      differences.push(`${kind} ${key} is stored at another time`);
  }
  for (const key of stored.keys())
    if (!acknowledged.has(key)) differences.push(`${kind} ${key} was never acknowledged`);
  return differences;
}

function isAdditive({ aggregation }: CountedMeter): boolean {
  return aggregation === 'sum' || aggregation === 'count';
}

/** Figures by brute force: `customer meter start` → quantity. */
function derive(
  facts: readonly RawFact[],
  meters: readonly CountedMeter[],
  startOf: (fact: RawFact) => number,
): Figures {
  const cells = new Map<string, RawFact[]>();
  for (const fact of facts) {
    const key = `${fact.customerId} ${startOf(fact)}`;
    const cell = cells.get(key);
    if (cell === undefined) cells.set(key, [fact]);
    else cell.push(fact);
  }
  const figures: Figures = new Map();
  for (const [key, cell] of cells) {
    const [customerId, start] = key.split(' ');
    for (const { key: meter, aggregation } of meters) {
      figures.set(`${customerId} ${meter} ${start}`, figureOf(aggregation, cell));
    }
  }
  return figures;
}

function figureOf(aggregation: Aggregation, facts: readonly RawFact[]): string {
  const quantities = facts.map(({ quantity }) => canonicalQuantity(String(quantity)));
  switch (aggregation) {
    case 'sum':
      return addQuantities('0', ...quantities);
    case 'count':
      return String(facts.length);
    case 'max':
      return quantities.reduce((greatest, next) => (compareQuantities(next, greatest) > 0 ? next : greatest), '0');
    case 'unique':
      return String(new Set(facts.map(({ userId }) => userId)).size);
    case 'last': {
      const [first] = [...facts].sort(
        (a, b) => b.occurredAt.getTime() - a.occurredAt.getTime() || (a._id < b._id ? 1 : -1),
      );
      return canonicalQuantity(String(first?.quantity ?? '0'));
    }
  }
}

function deriveGroups(facts: readonly RawFact[], meters: readonly CountedMeter[]): Figures {
  const figures: Figures = new Map();
  for (const region of new Set(facts.map(({ properties }) => properties.region))) {
    const own = facts.filter(({ properties }) => properties.region === region);
    const found = derive(own, meters, (fact) => Math.floor(fact.occurredAt.getTime() / HOUR_MS) * HOUR_MS);
    for (const [key, figure] of found) figures.set(`${key} ${region}`, figure);
  }
  return figures;
}

/** Stored figures; a row without facts stands for nothing. */
async function storedFigures(db: Database['db'], collection: string, start: string): Promise<Figures> {
  const rows = await db.collection<StoredRow & { _id: object }>(collection).find().toArray();
  return new Map(
    rows
      .filter(({ eventCount }) => eventCount > 0)
      .map(({ _id, quantity }) => [
        `${_id.customerId} ${_id.meter} ${(_id[start] as Date).getTime()}`,
        canonicalQuantity(String(quantity)),
      ]),
  );
}

async function storedGroups(db: Database['db']): Promise<Figures> {
  interface StoredGroups {
    _id: { customerId: string; meter: string; windowStart: Date };
    groups: { by: unknown[]; quantity: { toString(): string } }[];
  }
  const figures: Figures = new Map();
  for (const { _id, groups } of await db.collection<StoredGroups>('usage_groups').find().toArray()) {
    for (const { by, quantity } of groups) {
      const key = `${_id.customerId} ${_id.meter} ${_id.windowStart.getTime()} ${String(by[0])}`;
      figures.set(key, canonicalQuantity(String(quantity)));
    }
  }
  return figures;
}

function compareFigures(what: string, expected: Figures, stored: Figures): string[] {
  const differences: string[] = [];
  for (const key of new Set([...expected.keys(), ...stored.keys()])) {
    const [raw, found] = [expected.get(key), stored.get(key)];
    if (raw === undefined || found === undefined || !equalQuantities(raw, found)) {
      differences.push(`${what} ${key}: raw ${raw ?? 'nothing'}, stored ${found ?? 'nothing'}`);
    }
  }
  return differences;
}

/** Stripe's totals against the sum of windows, or of periods where windows do not add up. */
function compareTotals(world: World, figures: { windows: Figures; periods: Figures }): string[] {
  const expected: Figures = new Map();
  for (const meter of world.meters) {
    for (const [key, figure] of isAdditive(meter) ? figures.windows : figures.periods) {
      const [customerId = '', name] = key.split(' ');
      if (name !== meter.key) continue;
      const total = `${world.billing.get(customerId)?.stripeCustomerId} ${meter.key}`;
      expected.set(total, addQuantities(expected.get(total) ?? '0', figure));
    }
  }
  const counted: Figures = new Map(
    world.totals.map(({ customer, eventName, total }) => [`${customer} ${eventName}`, total]),
  );
  return compareFigures('total at Stripe', expected, counted);
}

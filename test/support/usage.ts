/** Facts, meters and derivations as the daemon makes them, in a few words. */
import type { Db, Document } from 'mongodb';
import { planDerivation } from '../../src/aggregation/derivation-plan.ts';
import type { Meter } from '../../src/meters/meter.ts';
import { parseUsageEvent } from '../../src/usage/usage-event.ts';
import { epochHourOf, type CustomerHour } from '../../src/customers/calendar/window.ts';
import { inDerivationRun } from '../../src/aggregation/derivation-run-store.ts';
import { DirtyHours } from '../../src/usage/dirty-hours-store.ts';
import { Meters, toMeterDocument } from '../../src/meters/meters-store.ts';
import { toUsageEventDocument, UsageEvents } from '../../src/usage/usage-events-store.ts';

export const ms = (text: string): number => Date.parse(text);
export const hourOf = (text: string): number => epochHourOf(ms(text));

/** An event as a caller sends it; what is left out is filled in. */
export interface EventInput {
  readonly at: string;
  readonly customerId?: string;
  readonly eventType?: string;
  readonly quantity?: string | number;
  readonly userId?: string;
  readonly properties?: Record<string, string | number | boolean>;
  readonly key?: string;
}

let eventCount = 0;

/** Stores events by the rules of ingest, and returns their customer-hours. Writes no journal. */
export async function storeEvents(db: Db, inputs: readonly EventInput[]): Promise<CustomerHour[]> {
  const pairs = new Map<string, CustomerHour>();
  const documents = inputs.map((input) => {
    eventCount += 1;
    const verdict = parseUsageEvent(
      {
        idempotencyKey: input.key ?? `event-${String(eventCount).padStart(8, '0')}`,
        customerId: input.customerId ?? 'acme',
        eventType: input.eventType ?? 'call',
        occurredAt: input.at,
        ...(input.quantity !== undefined && { quantity: input.quantity }),
        ...(input.userId !== undefined && { userId: input.userId }),
        ...(input.properties !== undefined && { properties: input.properties }),
      },
      { nowMs: Date.parse('2100-01-01T00:00:00Z'), ageMsMax: Number.MAX_SAFE_INTEGER },
    );
    if ('fault' in verdict) throw new Error(`${verdict.fault.code}: ${verdict.fault.detail}`);
    const { event } = verdict;
    const pair = { customerId: event.customerId, hour: epochHourOf(event.occurredAtMs) };
    pairs.set(`${pair.customerId} ${pair.hour}`, pair);
    return toUsageEventDocument(event, event.occurredAtMs);
  });
  for (let from = 0; from < documents.length; from += 1_000) {
    await new UsageEvents(db).insertAll(documents.slice(from, from + 1_000));
  }
  return [...pairs.values()];
}

/** Stores events with their journal entry, as ingest does. */
export async function ingestEvents(db: Db, inputs: readonly EventInput[]): Promise<CustomerHour[]> {
  const pairs = await storeEvents(db, inputs);
  await new DirtyHours(db).recordPairs(pairs, new Date(0));
  return pairs;
}

/** A meter that sums the quantity of `call` events since 2020, but for what is given. */
export function meterOf(given: Partial<Meter> & { key: string }): Meter {
  return {
    displayName: given.key,
    unit: 'unit',
    eventType: 'call',
    aggregation: 'sum',
    valueFrom: { kind: 'quantity' },
    where: [],
    groupBy: [],
    effectiveFromMs: ms('2020-01-01T00:00:00Z'),
    createdAtMs: ms('2026-01-01T00:00:00Z'),
    lateUsage: 'review',
    ...given,
  };
}

export async function storeMeters(db: Db, meters: readonly Meter[]): Promise<void> {
  for (const meter of meters) {
    const document = toMeterDocument(meter, { revision: 1, updatedAt: new Date(meter.createdAtMs) });
    await new Meters(db).save(document, undefined);
  }
}

/** Derives customer-hours as an aggregation run does, and leaves the journal alone. */
export async function derive(db: Db, pairs: readonly CustomerHour[], holdStages: Document[] = []): Promise<void> {
  await inDerivationRun(
    db,
    async (run) => {
      const meters = await run.useMeters(new Date(0));
      const customers = await run.customers([...new Set(pairs.map(({ customerId }) => customerId))]);
      const plan = planDerivation(pairs, customers, meters);
      for (const step of plan.steps) await run.derive(step);
      await run.emptyWindows(plan.emptyWindows);
      await run.derivePeriods(plan.periods);
      await run.emptyPeriods(plan.emptyPeriods);
    },
    holdStages,
  );
}

/** Derives everything that waits in the journal, and empties it. */
export async function deriveWaiting(db: Db): Promise<void> {
  const { ids, pairs } = await inDerivationRun(db, async (run) => {
    const ids = (await run.waiting()).map(({ id }) => id);
    return { ids, pairs: (await run.pairsOf(ids, Number.POSITIVE_INFINITY)).pairs };
  });
  await derive(db, pairs);
  await inDerivationRun(db, (run) => run.delete(ids));
}

import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { DAY_MS } from '../../src/platform/durations.ts';
import { type LentDaemon, withDaemon } from '../support/daemon.ts';

const LAST_EVENT_MS = Date.parse('2013-12-01T04:59:00Z');

interface Flight {
  readonly occurredAt: string;
  readonly customerId: string;
}

interface Truth {
  readonly accepted: number;
  readonly rejected: number;
  readonly customers: Record<
    string,
    { flights: number; airMinutes: string; longestMinutes: string; miles: string; uniqueTailnums: number }
  >;
}

const read = (name: string): Buffer => readFileSync(new URL(`../../examples/${name}`, import.meta.url));
const truth = JSON.parse(read('flights-2013-11.expected.json').toString()) as Truth;

/** The flights, moved by whole days so that they lie in the last 34. */
function flights(): Flight[] {
  const shiftMs = Math.floor((Date.now() - DAY_MS - LAST_EVENT_MS) / DAY_MS) * DAY_MS;
  return gunzipSync(read('flights-2013-11.ndjson.gz'))
    .toString()
    .trim()
    .split('\n')
    .map((line) => {
      const flight = JSON.parse(line) as Flight;
      return { ...flight, occurredAt: new Date(Date.parse(flight.occurredAt) + shiftMs).toISOString() };
    });
}

const METERS: Record<string, object> = {
  flights: { aggregation: 'count' },
  air_minutes: { aggregation: 'sum' },
  miles: { aggregation: 'sum', valueFrom: 'properties.distanceMiles' },
  longest_flight: { aggregation: 'max' },
  tailnums: { aggregation: 'unique', uniqueBy: 'properties.tailnum' },
};

async function setUp(daemon: LentDaemon, firstDayMs: number): Promise<void> {
  for (const [key, definition] of Object.entries(METERS)) {
    const body = { displayName: key, unit: 'unit', eventType: 'flight', stripe: { eventName: key }, ...definition };
    expect((await daemon.call('PUT', `/v1/meters/${key}`, body)).status).toBe(200);
  }
  for (const customerId of Object.keys(truth.customers)) {
    const body = { billingAnchor: new Date(firstDayMs).toISOString(), billingInterval: 'year' };
    expect((await daemon.call('PUT', `/v1/customers/${customerId}`, body)).status).toBe(200);
  }
}

interface Tally {
  accepted: number;
  duplicates: number;
  conflicts: number;
  rejected: number;
}

async function send(daemon: LentDaemon, events: readonly Flight[], tally: Tally): Promise<void> {
  const response = await daemon.call('POST', '/v1/events', events);
  const answer = (await response.json()) as Tally & { results: { error?: { pointer: string } }[] };
  for (const name of ['accepted', 'duplicates', 'conflicts', 'rejected'] as const) tally[name] += answer[name];
  for (const { error } of answer.results) if (error !== undefined) expect(error.pointer).toBe('/quantity');
}

async function expectTruth(daemon: LentDaemon): Promise<void> {
  for (const [customerId, expected] of Object.entries(truth.customers)) {
    const usage = await daemon.get<{ meters: { meter: string; quantity: string }[] }>(
      `/v1/customers/${customerId}/usage?period=current`,
    );
    expect(Object.fromEntries(usage.meters.map(({ meter, quantity }) => [meter, quantity]))).toEqual({
      flights: String(expected.flights),
      air_minutes: expected.airMinutes,
      miles: expected.miles,
      longest_flight: expected.longestMinutes,
      tailnums: String(expected.uniqueTailnums),
    });
  }
}

/** A small generator of its own, so that a failing order can be repeated. */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const result = [...items];
  for (let last = result.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [result[last], result[other]] = [result[other] as T, result[last] as T];
  }
  return result;
}

describe('a month of flights', () => {
  it('comes to the same figures in any order, batching and number of repetitions, aggregated or not', async () => {
    const seed = 20_131_101;
    const random = dice(seed);
    await withDaemon({}, async (daemon) => {
      const all = flights();
      const firstDayMs = Math.floor(Math.min(...all.map(({ occurredAt }) => Date.parse(occurredAt))) / DAY_MS) * DAY_MS;
      await setUp(daemon, firstDayMs);
      const queue = shuffled(all, random);
      const tally: Tally = { accepted: 0, duplicates: 0, conflicts: 0, rejected: 0 };
      const clients = Array.from({ length: 8 }, async () => {
        while (queue.length > 0) {
          const batch = queue.splice(0, 1 + Math.floor(random() * 400));
          await send(daemon, batch, tally);
          if (random() < 0.2) await send(daemon, batch, { ...tally });
        }
      });
      await Promise.all(clients);
      expect(tally).toEqual({ accepted: truth.accepted, duplicates: 0, conflicts: 0, rejected: truth.rejected });
      await expectTruth(daemon);
      await daemon.run('aggregate-usage');
      await expectTruth(daemon);
      const again: Tally = { accepted: 0, duplicates: 0, conflicts: 0, rejected: 0 };
      for (let from = 0; from < all.length; from += 1_000) await send(daemon, all.slice(from, from + 1_000), again);
      expect(again).toEqual({ accepted: 0, duplicates: truth.accepted, conflicts: 0, rejected: truth.rejected });
      await daemon.run('aggregate-usage');
      await expectTruth(daemon);
    });
  }, 180_000);
});

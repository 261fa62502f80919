/** An airline's month on its way from a billed quantity down to the flights of one hour. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import type { Db } from 'mongodb';
import { describe, expect, it } from 'vitest';
import type { Explanation } from '../../scripts/lib/explanation.ts';
import { addQuantities, subtractQuantities } from '../../src/platform/quantity.ts';
import { DAY_MS } from '../../src/platform/durations.ts';
import { openStripe } from '../../src/stripe/client.ts';
import { type CommandResult, tallystick } from '../support/command-line.ts';
import { type LentDaemon, withDaemon } from '../support/daemon.ts';
import { withDatabase } from '../support/services.ts';

const LAST_EVENT_MS = Date.parse('2013-12-01T04:59:00Z');
const AIRLINE = 'VX';
const ADMIN_KEY = 'tly_test_admin_key_of_a_daemon';

const read = (name: string): Buffer => readFileSync(new URL(`../../examples/${name}`, import.meta.url));
const truth = JSON.parse(read('flights-2013-11.expected.json').toString()) as {
  customers: Record<string, { flights: number; airMinutes: string; longestMinutes: string }>;
};

interface Flight {
  readonly idempotencyKey: string;
  readonly occurredAt: string;
  readonly customerId: string;
  readonly quantity: string;
}

/** The airline's flights, moved by whole days so that they lie in the last 34. */
function flights(): Flight[] {
  const shiftMs = Math.floor((Date.now() - DAY_MS - LAST_EVENT_MS) / DAY_MS) * DAY_MS;
  return gunzipSync(read('flights-2013-11.ndjson.gz'))
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Flight)
    .filter(({ customerId }) => customerId === AIRLINE)
    .map((flight) => ({ ...flight, occurredAt: new Date(Date.parse(flight.occurredAt) + shiftMs).toISOString() }));
}

const METERS = { air_minutes: 'sum', longest_flight: 'max' };

async function prepare(daemon: LentDaemon): Promise<void> {
  const effectiveFrom = new Date(Math.floor(Date.now() / DAY_MS) * DAY_MS - 40 * DAY_MS).toISOString();
  for (const [key, aggregation] of Object.entries(METERS)) {
    const body = { eventType: 'flight', unit: 'minute', aggregation, effectiveFrom, stripe: { eventName: key } };
    expect((await daemon.call('PUT', `/v1/meters/${key}`, body)).status).toBe(200);
  }
  await daemon.run('sync-meters');
  const stripe = openStripe({ secretKey: 'sk_test_daemon', apiBase: daemon.simulator.url });
  const { id: stripeCustomerId } = await stripe.customers.create({ name: AIRLINE });
  const billingAnchor = effectiveFrom;
  const customer = { stripeCustomerId, billingAnchor, billingInterval: 'year', submitFrom: effectiveFrom };
  expect((await daemon.call('PUT', `/v1/customers/${AIRLINE}`, customer)).status).toBe(200);
  const all = flights();
  for (let from = 0; from < all.length; from += 1_000) {
    expect((await daemon.call('POST', '/v1/events', all.slice(from, from + 1_000))).status).toBe(200);
  }
}

function run(daemon: LentDaemon, ...args: string[]): Promise<CommandResult> {
  return tallystick(args, { env: { TALLYSTICK_URL: daemon.url, TALLYSTICK_API_KEY: ADMIN_KEY, USER: 'jo' } });
}

const sumOf = (values: readonly (string | null)[]): string =>
  addQuantities('0', ...values.map((value) => value ?? '0'));

/** Lends a daemon that has taken the airline's month, and its database. */
function withAirline(use: (daemon: LentDaemon, db: Db) => Promise<void>): Promise<void> {
  return withDatabase((db) =>
    withDaemon({ environment: { MONGODB_DATABASE: db.databaseName } }, async (daemon) => {
      await prepare(daemon);
      await use(daemon, db);
    }),
  );
}

describe('the air minutes of an airline', () => {
  it('are explained down to the flights of one hour, with equal sums at every level', { timeout: 120_000 }, () =>
    withAirline(async (daemon, db) => {
      const { airMinutes, flights: flown, longestMinutes } = truth.customers[AIRLINE] ?? {};
      // One flight was reported too long.
      const [first] = flights();
      const fix = [
        'adjust',
        '--customer',
        AIRLINE,
        '--meter',
        'air_minutes',
        '--quantity',
        '-5',
        '--reason',
        'a, "typo"',
      ];
      const adjust = [...fix, '--at', first?.occurredAt ?? ''];
      expect((await run(daemon, ...adjust, '--dry-run')).stdout).toMatch(/^would be created/);
      expect((await run(daemon, ...adjust)).stdout).toMatch(/^created/);
      expect((await run(daemon, ...adjust)).stdout).toMatch(/^duplicate/);
      await daemon.run('aggregate-usage');
      await daemon.run('submit-meter-events');
      const billed = subtractQuantities(airMinutes ?? '', '5');

      const path = `/v1/customers/${AIRLINE}/explain?meter=air_minutes`;
      const whole = await daemon.get<Explanation>(`${path}&limit=1`);
      expect(whole).toMatchObject({
        equal: true,
        totals: { sent: billed, submitted: billed, windows: billed, raw: billed },
      });
      expect(sumOf(whole.submissions.map(({ value }) => value))).toBe(billed);
      expect(sumOf(whole.windows.map(({ quantity }) => quantity))).toBe(billed);
      expect(whole.submissions.every(({ state }) => state === 'accepted' || state === 'confirmed')).toBe(true);
      expect(whole.facts.eventCount).toBe((flown ?? 0) + 1);

      // The hour of the correction: its meter event, its window and its facts come to the same.
      const hour = new Date(Math.floor(Date.parse(first?.occurredAt ?? '') / 3_600_000) * 3_600_000).toISOString();
      const window = whole.windows.find(({ from }) => from === hour);
      const sent = whole.submissions.filter(({ timestamp }) => timestamp === hour).map(({ value }) => value);
      const json = await daemon.get<Explanation>(`${path}&hour=${encodeURIComponent(hour)}`);
      const ofHour = flights().filter(({ occurredAt }) => occurredAt.slice(0, 13) === hour.slice(0, 13));
      expect(json.facts.data.map(({ idempotencyKey }) => idempotencyKey)).toEqual(
        expect.arrayContaining(ofHour.map(({ idempotencyKey }) => idempotencyKey)),
      );
      expect(json.facts.data).toHaveLength(ofHour.length + 1);
      const values = sumOf(json.facts.data.map(({ value }) => value));
      expect(values).toBe(subtractQuantities(sumOf(ofHour.map(({ quantity }) => quantity)), '5'));
      expect([sumOf(sent), window?.quantity, json.facts.quantity]).toEqual([values, values, values]);

      const table = await run(daemon, 'explain', '--customer', AIRLINE, '--meter', 'air_minutes', '--hour', hour);
      expect(table.stdout).toMatch(/equal at every level/);
      expect(table.stdout).toMatch(/adjustment by jo: a, "typo"/);
      expect(Math.max(...table.stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
      const csv = await run(daemon, 'explain', '--customer', AIRLINE, '--meter', 'air_minutes', '--csv');
      const lines = csv.stdout.trim().split('\n');
      const levels = lines.slice(1).map((line) => line.split(',')[0]);
      expect(levels.filter((level) => level === 'fact')).toHaveLength((flown ?? 0) + 1);
      expect(csv.stdout).toContain(',-5,,');
      expect(csv.stdout).toContain('"a, ""typo"""');

      // A running figure: which window set it.
      const longest = await daemon.get<Explanation>(`/v1/customers/${AIRLINE}/explain?meter=longest_flight`);
      const figure = longestMinutes ?? '';
      expect(longest).toMatchObject({ equal: true, totals: { sent: figure, windows: figure, raw: figure } });
      const [period] = longest.periods ?? [];
      const setter = longest.windows.find(({ from }) => from === period?.setBy?.from);
      expect(setter).toMatchObject({ quantity: figure, figure, setsFigure: true });

      const month = `${whole.windows[0]?.from.slice(0, 10) ?? ''}..${new Date(Date.now() + DAY_MS).toISOString().slice(0, 10)}`;
      const verified = await run(daemon, 'verify', '--period', month);
      expect([verified.code, verified.stdout]).toEqual([0, expect.stringMatching(/equal to what is stored\nsha256:/)]);
      // A figure that waits to be derived anyway is no drift: the journal's last entries close within seconds.
      while ((await db.collection('dirty_hours').countDocuments()) > 0) await run(daemon, 'aggregate');
      await db.collection('usage_aggregates').updateOne({ '_id.meter': 'air_minutes' }, [{ $set: { eventCount: 99 } }]);
      const drifting = await run(daemon, 'verify', '--period', month, '--customer', AIRLINE);
      expect([drifting.code, drifting.stdout]).toEqual([
        5,
        expect.stringMatching(/1 differ[\s\S]*air_minutes +window .* 99 /),
      ]);
      expect(drifting.stdout).toContain(verified.stdout.match(/sha256:\w+/)?.[0]);
    }),
  );
});

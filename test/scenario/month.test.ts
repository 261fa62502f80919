/** A month in a minute: what was used is what is billed, with a boundary inside a minute, late usage and a held invoice. */
import type { Stripe } from 'stripe';
import { describe, expect, it } from 'vitest';
import { addQuantities, canonicalQuantity, compareQuantities, type Quantity } from '../../src/platform/quantity.ts';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';
import { guardOf, hear, latestInvoice, passTime, subscribe, wayOf } from '../support/billing.ts';
import { loseAtStripe } from '../support/drift.ts';
import { adjust } from '../support/late-usage.ts';
import { type Pipeline, withPipeline } from '../support/pipeline.ts';
import { type EventInput, ingestEvents, meterOf, ms, storeMeters } from '../support/usage.ts';

const BEGIN_MS = ms('2026-08-31T10:23:45Z');
/** September has no 31st, October has. */
const FIRST_END_MS = ms('2026-09-30T10:23:45Z');
const SECOND_END_MS = ms('2026-10-31T10:23:45Z');
const CUSTOMERS = ['acme', 'globex'] as const;
const EVENT_NAMES = ['calls', 'peak'];

/** Everything that was used, as it was sent. */
class Usage {
  readonly #events: { customerId: string; atMs: number; quantity: Quantity }[] = [];
  readonly #pipeline: Pipeline;
  #seed = 20_260_831;

  constructor(pipeline: Pipeline) {
    this.#pipeline = pipeline;
  }

  async send(inputs: readonly (EventInput & { customerId: string; quantity: string })[]): Promise<void> {
    for (const { customerId, at, quantity } of inputs) this.#events.push({ customerId, atMs: ms(at), quantity });
    await ingestEvents(this.#pipeline.stores.database.db, inputs);
  }

  /** Usage of both customers at some instant of a day, with up to eleven decimals. */
  async sendDay(dayMs: number): Promise<void> {
    await this.send(
      CUSTOMERS.map((customerId) => {
        const at = new Date(dayMs + this.#below(DAY_MS)).toISOString();
        return { customerId, at, quantity: canonicalQuantity(`${this.#below(900)}.${this.#below(1e11)}`) };
      }),
    );
  }

  /** Usage on both sides of an instant, to the millisecond. */
  async sendAround(instantMs: number): Promise<void> {
    const inputs = CUSTOMERS.flatMap((customerId) =>
      [-1_000, -1, 0, 1].map((offsetMs, index) => ({
        customerId,
        at: new Date(instantMs + offsetMs).toISOString(),
        quantity: `${10 ** index}.00000000001`,
      })),
    );
    await this.send(inputs);
  }

  /** Takes usage of `acme` back, or adds to it. */
  async correct(at: string, quantity: Quantity): Promise<void> {
    this.#events.push({ customerId: 'acme', atMs: ms(at), quantity });
    await adjust(this.#pipeline, at, quantity);
  }

  sum(customerId: string, fromMs: number, toMs: number): Quantity {
    return addQuantities('0', ...this.#within(customerId, fromMs, toMs));
  }

  max(customerId: string, fromMs: number, toMs: number): Quantity {
    return this.#within(customerId, fromMs, toMs).reduce((a, b) => (compareQuantities(a, b) < 0 ? b : a));
  }

  #within(customerId: string, fromMs: number, toMs: number): Quantity[] {
    return this.#events
      .filter((event) => event.customerId === customerId && event.atMs >= fromMs && event.atMs < toMs)
      .map(({ quantity }) => canonicalQuantity(quantity));
  }

  #below(bound: number): number {
    this.#seed = (this.#seed * 48_271) % 2_147_483_647;
    return Math.floor((this.#seed / 2_147_483_647) * bound);
  }
}

async function sendAll(pipeline: Pipeline): Promise<void> {
  await pipeline.run('aggregate-usage');
  await pipeline.run('submit-meter-events');
}

/** The quantities that an invoice bills, in the order of the event names. */
function quantitiesOf({ lines }: Stripe.Invoice): (string | undefined)[] {
  return lines.data.map(({ quantity_decimal: quantity }) => quantity?.toString());
}

describe('a month in a minute', () => {
  it('bills each customer what it used, to the last decimal', { timeout: 300_000 }, () =>
    withPipeline({ environment: { HEAL_FRACTION_MAX: '1' } }, async (pipeline) => {
      const { stores, simulator, clock } = pipeline;
      const usage = new Usage(pipeline);
      clock.advance(BEGIN_MS - clock.now());
      await storeMeters(stores.database.db, [
        meterOf({ key: 'calls', stripe: { eventName: 'calls' }, lateUsage: 'next_period' }),
        meterOf({ key: 'peak', aggregation: 'max', stripe: { eventName: 'peak' } }),
      ]);
      await pipeline.run('sync-meters');
      const stripeIds = new Map<string, string>();
      for (const customerId of CUSTOMERS) {
        const stripeId = await pipeline.mapCustomer(customerId);
        stripeIds.set(customerId, stripeId);
        await subscribe(pipeline, stripeId, EVENT_NAMES);
      }
      const [acme = '', globex = ''] = stripeIds.values();
      await hear(pipeline);

      // The month.
      await usage.sendAround(BEGIN_MS);
      for (let dayMs = BEGIN_MS; dayMs < FIRST_END_MS; dayMs += 3 * DAY_MS) {
        await simulator.advanceTo(Math.min(dayMs + 3 * DAY_MS, FIRST_END_MS - 2 * HOUR_MS));
        for (let day = 0; day < 3; day += 1) await usage.sendDay(dayMs + day * DAY_MS);
        await sendAll(pipeline);
      }
      await simulator.advanceTo(FIRST_END_MS);
      await usage.sendAround(FIRST_END_MS);
      // Stripe loses one of globex's meter events, without a word.
      const lost = simulator
        .meterEvents()
        .findLast(({ customer, eventName }) => customer === globex && eventName === 'calls');
      await loseAtStripe(pipeline, lost?.identifier ?? '');

      // The drafts: usage that comes late is still billed, and corrections are.
      await passTime(pipeline, FIRST_END_MS + 20 * MINUTE_MS);
      await usage.send([
        { customerId: 'acme', at: '2026-09-20T07:00:00Z', quantity: '0.5' },
        { customerId: 'globex', at: '2026-09-30T10:23:44.999Z', quantity: '0.25' },
      ]);
      await usage.correct('2026-09-10T12:00:00Z', '-1.25');
      await passTime(pipeline, FIRST_END_MS + HOUR_MS + 3 * MINUTE_MS);
      const acmeUsed = usage.sum('acme', BEGIN_MS, FIRST_END_MS);
      const acmePeak = usage.max('acme', BEGIN_MS, FIRST_END_MS);
      const acmeInvoice = await latestInvoice(pipeline, acme);
      expect(acmeInvoice.status).toBe('paid');
      expect(quantitiesOf(acmeInvoice)).toEqual([acmeUsed, acmePeak]);
      expect(wayOf(await guardOf(pipeline, acme)).at(-1)).toBe('final');
      expect(await guardOf(pipeline, globex)).toMatchObject({ state: 'held', previousAutoAdvance: true });
      expect(await latestInvoice(pipeline, globex)).toMatchObject({ status: 'draft', auto_advance: false });

      // After acme's invoice is final, its late usage goes to the next one; globex's draft still takes its own.
      await usage.send([
        { customerId: 'acme', at: '2026-09-29T05:00:00Z', quantity: '4.5' },
        { customerId: 'globex', at: '2026-09-29T05:00:00Z', quantity: '2.125' },
      ]);
      await passTime(pipeline, FIRST_END_MS + 2 * HOUR_MS);
      await sendAll(pipeline);
      await passTime(pipeline, FIRST_END_MS + 20 * HOUR_MS);
      const globexGuard = await guardOf(pipeline, globex);
      expect(wayOf(globexGuard).slice(-5)).toEqual(['holding', 'held', 'releasing', 'released', 'final']);
      expect(globexGuard).toMatchObject({ releasedBy: 'tallystick', reason: 'equal' });
      expect(quantitiesOf(await latestInvoice(pipeline, globex))).toEqual([
        usage.sum('globex', BEGIN_MS, FIRST_END_MS),
        usage.max('globex', BEGIN_MS, FIRST_END_MS),
      ]);
      await expectAggregatesBilled(pipeline, { acme, globex }, [BEGIN_MS, FIRST_END_MS]);

      // The month after it begins with the millisecond that ended the first.
      await usage.sendDay(SECOND_END_MS - 2 * DAY_MS);
      await simulator.advanceTo(SECOND_END_MS - HOUR_MS);
      await sendAll(pipeline);
      await simulator.advanceTo(SECOND_END_MS);
      await usage.sendAround(SECOND_END_MS);
      await passTime(pipeline, SECOND_END_MS + HOUR_MS + 3 * MINUTE_MS);
      const second = [FIRST_END_MS, SECOND_END_MS] as const;
      expect(quantitiesOf(await latestInvoice(pipeline, acme))).toEqual([
        addQuantities(usage.sum('acme', ...second), '4.5'),
        usage.max('acme', ...second),
      ]);
      expect(quantitiesOf(await latestInvoice(pipeline, globex))).toEqual([
        usage.sum('globex', ...second),
        usage.max('globex', ...second),
      ]);
      await expectAggregatesBilled(pipeline, { acme, globex }, second);
    }),
  );
});

/** The guard's own comparison of each line, and the aggregates themselves. */
async function expectAggregatesBilled(
  pipeline: Pipeline,
  customers: Record<(typeof CUSTOMERS)[number], string>,
  [fromMs, toMs]: readonly [number, number],
): Promise<void> {
  const { stores } = pipeline;
  for (const customerId of CUSTOMERS) {
    const guard = await guardOf(pipeline, customers[customerId]);
    expect(guard.state).toBe('final');
    expect(guard.lines.map(({ verdict }) => verdict)).toEqual(['match', 'match']);
    const scope = { customerId, meter: 'calls' };
    const { quantity } = await stores.usageAggregates.sums({ ...scope, from: new Date(fromMs), to: new Date(toMs) });
    const late = await stores.lateUsage.sumOf({ ...scope, fromMs, toMs });
    const moved = customerId === 'acme' && toMs === SECOND_END_MS ? '4.5' : '0';
    expect(addQuantities(canonicalQuantity(quantity.toString()), moved)).toBe(
      addQuantities(canonicalQuantity(guard.lines[0]?.billed?.toString() ?? ''), late),
    );
  }
}

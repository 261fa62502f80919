/** The ledger's statements on a real database: which index serves them, and that corrections are decided once. */
import { type Db, Decimal128 } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { foldHour } from '../../src/submissions/ledger-entry.ts';
import { HOUR_MS } from '../../src/platform/durations.ts';
import { Corrections } from '../../src/submissions/resolving/corrections-store.ts';
import { ensureIndexes } from '../../src/daemon/indexes-store.ts';
import { Ledger } from '../../src/submissions/ledger-store.ts';
import { type MeterSubmissionDocument, MeterSubmissions } from '../../src/submissions/meter-submissions-store.ts';
import { withDatabase } from '../support/services.ts';

const AT = new Date('2026-06-15T08:00:00Z');
const SCOPE = { customerId: 'acme', meter: 'calls', fromMs: AT.getTime(), toMs: AT.getTime() + HOUR_MS };
const HEAL = { installation: 'test0001', customerId: 'acme', meter: 'calls', hourMs: AT.getTime(), number: 1 };

function submission(given: Partial<MeterSubmissionDocument> & { _id: string }): MeterSubmissionDocument {
  const value = Decimal128.fromString('7');
  return {
    customerId: 'acme',
    meter: 'calls',
    subject: 'window',
    subjectStart: AT,
    sequence: 1,
    fromQuantity: Decimal128.fromString('0'),
    toQuantity: value,
    value,
    timestamp: AT,
    state: 'accepted',
    attempts: 1,
    storedAnswers: 0,
    declines: 0,
    lastAttemptAt: AT,
    acceptedAt: AT,
    history: [],
    plannedAt: AT,
    ...given,
  };
}

describe('the ledger', () => {
  it("reads a range through the index on a customer's meter, and finds what is pending without a scan", () =>
    withDatabase(async (db) => {
      await ensureIndexes(db);
      const others = Array.from({ length: 200 }, (_, index) => submission({ _id: `b${index}`, customerId: 'bolt' }));
      await new MeterSubmissions(db).insertAll([submission({ _id: 'a' }), ...others]);
      const ledger = new Ledger(db);
      const plans = await plansOf(db, async () => {
        await ledger.sums(SCOPE);
        await ledger.entries(SCOPE);
        await ledger.confirm(SCOPE, AT);
        await ledger.finishReplacements(AT);
        await ledger.customerIds();
      });
      expect(plans.length).toBeGreaterThanOrEqual(6);
      expect(plans.filter((plan) => plan.includes('COLLSCAN'))).toEqual([]);
      const byRange = 'IXSCAN { customerId: 1, meter: 1, timestamp: 1 }';
      expect(plans.filter((plan) => plan === byRange)).toHaveLength(3);
    }));

  it('adds up alike over a range and over its entries, a heal that came too late included', () =>
    withDatabase(async (db) => {
      const heal = { subject: 'heal', state: 'replaced', value: Decimal128.fromString('2') } as const;
      await new MeterSubmissions(db).insertAll([
        submission({ _id: 'a' }),
        submission({ _id: 'b', ...heal, replacedBy: 'b~late' }),
        submission({ _id: 'c', ...heal, replacedBy: 'c~1' }),
      ]);
      const ledger = new Ledger(db);
      const { delivered } = await ledger.sums(SCOPE);
      expect(delivered).toBe('5');
      expect(foldHour(await ledger.entries(SCOPE), AT.getTime()).delivered).toBe(delivered);
    }));

  it('does not confirm what Stripe took after the total was read', () =>
    withDatabase(async (db) => {
      const later = new Date(AT.getTime() + 1);
      const submissions = new MeterSubmissions(db);
      await submissions.insertAll([submission({ _id: 'a' }), submission({ _id: 'b', acceptedAt: later })]);
      await new Ledger(db).confirm(SCOPE, AT);
      const states = (await submissions.findAll(['a', 'b'])).map(({ _id, state }) => `${_id} ${state}`);
      expect(states.sort()).toEqual(['a confirmed', 'b accepted']);
    }));
});

describe('corrections', () => {
  it('make the nth heal of an hour once', () =>
    withDatabase(async (db) => {
      const topUp = { heal: HEAL, timestampMs: AT.getTime(), value: '3', at: AT };
      const made = await Promise.all(Array.from({ length: 5 }, () => new Corrections(db).topUp(topUp)));
      expect(made.filter(Boolean)).toHaveLength(1);
      expect(await new Corrections(db).topUp({ ...topUp, heal: { ...HEAL, number: 2 } })).toBe(true);
    }));

  it('decide once between a cancellation and a negative delta', () =>
    withDatabase(async (db) => {
      for (const name of ['a', 'b', 'c', 'd', 'e']) {
        await new MeterSubmissions(db).insertAll([submission({ _id: name, state: 'replaced' })]);
        const corrections = new Corrections(db);
        const decided = await Promise.all([
          corrections.recordCancellation(name, 0, AT),
          corrections.offset(name, { cancelAttempts: 0, heal: HEAL, at: AT }),
          corrections.recordCancellation(name, 0, AT),
        ]);
        expect(decided.filter(Boolean)).toHaveLength(1);
      }
    }));

  it('make a negative delta after a refused cancellation, not after one that was made', () =>
    withDatabase(async (db) => {
      const corrections = new Corrections(db);
      const decide = (name: string): Promise<boolean> =>
        corrections.offset(name, { cancelAttempts: 1, heal: { ...HEAL, number: 7 }, at: AT });
      for (const [name, state] of [
        ['cancelled', 'done'],
        ['refused', 'refused'],
      ] as const) {
        await new MeterSubmissions(db).insertAll([submission({ _id: name, state: 'replaced' })]);
        await corrections.recordCancellation(name, 0, AT);
        expect(await corrections.settleCancellation(name, 1, { state })).toBe(true);
        expect(await corrections.settleCancellation(name, 1, { state })).toBe(false);
        expect(await decide(name)).toBe(state === 'refused');
      }
      const [heal] = await new Ledger(db).entries({ ...SCOPE, meter: 'calls' }).then((all) => all.filter(isHeal));
      expect(heal).toMatchObject({ value: '-7', timestampMs: AT.getTime(), state: 'planned' });
    }));
});

function isHeal({ subject }: { subject: string }): boolean {
  return subject === 'heal';
}

/** How the server carried out what `work` asked of the submissions. */
async function plansOf(db: Db, work: () => Promise<void>): Promise<string[]> {
  await db.command({ profile: 2 });
  try {
    await work();
  } finally {
    await db.command({ profile: 0 });
  }
  const ns = `${db.databaseName}.meter_submissions`;
  const found = await db
    .collection('system.profile')
    .find({ ns, planSummary: { $exists: true } })
    .toArray();
  return found.map(({ planSummary }) => String(planSummary));
}

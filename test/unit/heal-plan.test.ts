import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  acceptSurplus,
  type ClosedPeriod,
  type HealAction,
  holdFinal,
  isSamePlan,
  isWithinBounds,
  planFigure,
  planHeal,
  stampOf,
} from '../../src/reconciliation/heal-plan.ts';
import { foldByHour, foldHour, type LedgerEntry } from '../../src/submissions/ledger-entry.ts';
import { addQuantities, subtractQuantities } from '../../src/platform/quantity.ts';
import { DAY_MS, HOUR_MS } from '../../src/platform/durations.ts';

const AT = Date.parse('2026-06-15T08:00:00Z');
const NOW = AT + 14 * HOUR_MS;

let made = 0;

function entry(given: Partial<LedgerEntry> & { value: string }): LedgerEntry {
  made += 1;
  return {
    identifier: `s${String(made).padStart(4, '0')}`,
    state: 'accepted',
    subject: 'window',
    timestampMs: AT,
    attempts: 1,
    firstAttemptAtMs: AT,
    lastAttemptAtMs: AT,
    isOffset: false,
    isLate: false,
    ...given,
  };
}

/** The plan for an hour whose entries are these and whose total at Stripe is that. */
function plan(
  entries: readonly LedgerEntry[],
  stripe: string,
  { nowMs = NOW, finals = [] }: { nowMs?: number; finals?: readonly ClosedPeriod[] } = {},
): HealAction | undefined {
  const { delivered } = foldHour(entries, nowMs);
  return planHeal({ hourMs: AT, delivered, stripe, entries }, { nowMs, finals });
}

describe('planHeal, what is missing', () => {
  it('replaces the one submission with exactly the value that is missing, of several the one that was sent last', () => {
    const late = entry({ value: '7', lastAttemptAtMs: AT + 1 });
    const missing = plan([entry({ value: '3' }), entry({ value: '7' }), late, entry({ value: '7' })], '17');
    expect(missing).toMatchObject({ kind: 'replace', identifiers: [late.identifier] });
  });

  it('replaces of several first what no invoice can have on it, and what was sent before it was final last', () => {
    const finalizedAtMs = AT + 3 * HOUR_MS;
    const finals = [{ fromMs: AT - DAY_MS, toMs: AT + HOUR_MS, finalizedAtMs }];
    const sent = (firstMs: number, lastMs: number): LedgerEntry =>
      entry({ value: '7', attempts: 2, firstAttemptAtMs: firstMs, lastAttemptAtMs: lastMs });
    const before = sent(finalizedAtMs - 2000, finalizedAtMs - 1000);
    const after = sent(finalizedAtMs + 1000, finalizedAtMs + 2000);
    const perhaps = sent(finalizedAtMs - 3000, finalizedAtMs + 3000);
    const replaced = (entries: readonly LedgerEntry[], stripe: string): HealAction | undefined =>
      plan(entries, stripe, { finals });
    expect(replaced([before, perhaps, after], '14')).toMatchObject({ identifiers: [after.identifier] });
    expect(replaced([before, perhaps], '7')).toMatchObject({ identifiers: [perhaps.identifier] });
    expect(plan([before, perhaps, after], '14')).toMatchObject({ identifiers: [perhaps.identifier] });
  });

  it('replaces, of several sent last at one instant, the one that was first sent later', () => {
    const [twice, once] = [entry({ value: '7', lastAttemptAtMs: AT + 1 }), entry({ value: '7' })];
    const later = { ...once, firstAttemptAtMs: AT + 1, lastAttemptAtMs: AT + 1 };
    expect(plan([twice, later], '7')).toMatchObject({ identifiers: [later.identifier] });
  });

  it('replaces the same one whatever the order in which they are read', () => {
    const entries = [entry({ value: '3' }), entry({ value: '7' }), entry({ value: '7' })];
    const [, first] = entries;
    expect(plan(entries, '10')).toEqual({
      kind: 'replace',
      hourMs: AT,
      quantity: '7',
      identifiers: [first?.identifier],
    });
    expect(plan(entries.toReversed(), '10')).toEqual(plan(entries, '10'));
  });

  it('replaces all of the hour when all of it is missing', () => {
    const entries = [entry({ value: '3' }), entry({ value: '7' })];
    expect(plan(entries, '0')).toMatchObject({ kind: 'replace', quantity: '10', identifiers: entries.map(nameOf) });
  });

  it('tops up what nothing explains, numbered after the heals that the hour has had', () => {
    const heal = entry({ value: '1', subject: 'heal' });
    expect(plan([entry({ value: '10' })], '6')).toEqual({ kind: 'top-up', hourMs: AT, quantity: '4', number: 1 });
    expect(plan([entry({ value: '10' }), heal], '6')).toMatchObject({ kind: 'top-up', quantity: '4', number: 2 });
    // A meter event holds 15 digits: the leading ones first.
    expect(plan([entry({ value: '1234567890123.456' })], '0.000001')).toMatchObject({ quantity: '1234567890123.45' });
  });
});

describe('planHeal, what is too much', () => {
  const replaced = (value: string, given: Partial<LedgerEntry> = {}): LedgerEntry =>
    entry({ value, state: 'replaced', ...given });

  it('takes back the one replaced submission that counted all the same', () => {
    const lost = replaced('7');
    expect(plan([lost, entry({ value: '7' })], '14')).toEqual({
      kind: 'take-back',
      hourMs: AT,
      quantity: '-7',
      identifier: lost.identifier,
      cancelAttempts: 0,
      number: 1,
    });
  });

  it.each([
    ['nothing explains it', []],
    ['two replaced ones would', [replaced('7'), replaced('7')]],
    ['the replaced one was never sent', [replaced('7', { attempts: 0 })]],
    ['it was taken back before', [replaced('7', { isOffset: true })]],
    ['it was cancelled before', [replaced('7', { cancellation: { state: 'done', atMs: AT, attempts: 1 } })]],
    ['its value is another', [replaced('8')]],
    ['only a delivered correction would', [entry({ value: '-7' }), entry({ value: '7' })]],
  ])('leaves it to a person when %s', (_, entries) => {
    const stripe = entries.some(({ value }) => value === '-7') ? '7' : '17';
    const rest = stripe === '7' ? [] : [entry({ value: '10' })];
    expect(plan([...entries, ...rest], stripe)).toMatchObject({
      kind: 'person',
      quantity: '-7',
      reason: 'stripe_holds_more',
    });
  });

  it('makes a negative delta after a refused cancellation, once no call can have an effect any more', () => {
    const refused = replaced('7', { cancellation: { state: 'refused', atMs: AT + HOUR_MS, attempts: 2 } });
    expect(plan([refused], '7', { nowMs: AT + DAY_MS })).toBeUndefined();
    expect(plan([refused], '7', { nowMs: AT + 25 * HOUR_MS })).toMatchObject({ kind: 'take-back', cancelAttempts: 2 });
  });
});

describe('planHeal, what is in doubt', () => {
  const doubt = (value: string, given: Partial<LedgerEntry> = {}): LedgerEntry =>
    entry({ value, state: 'in_doubt', ...given });

  it('confirms one that has exactly the value of the difference', () => {
    const open = doubt('7');
    expect(plan([open, entry({ value: '3' })], '10')).toMatchObject({ kind: 'confirm', identifier: open.identifier });
    const downwards = doubt('-2');
    expect(plan([downwards, entry({ value: '3' })], '1')).toMatchObject({ kind: 'confirm' });
  });

  it('sends a heal again that did not count', () => {
    const heal = doubt('7', { subject: 'heal' });
    expect(plan([heal, entry({ value: '10' })], '3')).toMatchObject({ kind: 'replace', identifiers: [nameOf(heal)] });
  });

  it.each([
    ['the difference is another', [doubt('7')], '8'],
    ['a shortfall could be it or a loss', [doubt('7'), entry({ value: '5' })], '0'],
    ['there are two', [doubt('7'), doubt('7')], '7'],
    ['a replaced one would explain it as well', [doubt('7'), entry({ value: '7', state: 'replaced' })], '7'],
  ])('leaves it to a person when %s', (_, entries, stripe) => {
    expect(plan(entries, stripe)).toMatchObject({ kind: 'person', reason: 'in_doubt' });
  });
});

describe('planHeal', () => {
  const value = fc.integer({ min: -9, max: 9 }).filter((number) => number !== 0);
  const state = fc.constantFrom('accepted', 'confirmed', 'replaced', 'rejected', 'in_doubt' as const);
  const ledger = fc.array(fc.record({ value, state, isHeal: fc.boolean() }), { maxLength: 6 });

  it('closes the difference exactly, or leaves it to a person', () => {
    fc.assert(
      fc.property(ledger, fc.integer({ min: 0, max: 60 }), (given, stripe) => {
        const entries = given.map((one) =>
          entry({ value: String(one.value), state: one.state, subject: one.isHeal ? 'heal' : 'window' }),
        );
        const { delivered } = foldHour(entries, NOW);
        if (delivered === String(stripe)) return;
        const action = plan(entries, String(stripe));
        if (action === undefined || action.kind === 'person') return;
        const change = action.kind === 'confirm' ? negative(valueOf(entries, action.identifier)) : action.quantity;
        expect(addQuantities(String(stripe), change)).toBe(delivered);
      }),
    );
  });
});

describe('planFigure', () => {
  const figure = (entries: readonly LedgerEntry[], stripe: string): HealAction =>
    planFigure({ hourMs: AT, delivered: entries.at(-1)?.value ?? '0', stripe, entries });
  const entries = ['4', '9', '12'].map((value, index) => entry({ value, timestampMs: AT + index * HOUR_MS }));
  const [first, , latest] = entries;

  it('sends the latest again where Stripe shows an earlier one, or none', () => {
    for (const stripe of ['0', '4', '9']) {
      expect(figure(entries, stripe)).toMatchObject({ kind: 'replace', identifiers: [latest?.identifier] });
    }
  });

  it('confirms a later one in doubt that Stripe shows, and leaves a figure that is not ours to a person', () => {
    const doubt = entry({ value: '20', state: 'in_doubt', timestampMs: AT + 3 * HOUR_MS });
    expect(planFigure({ hourMs: AT, delivered: '12', stripe: '20', entries: [...entries, doubt] })).toMatchObject({
      kind: 'confirm',
      identifier: doubt.identifier,
    });
    expect(figure(entries, '20')).toMatchObject({ kind: 'person', reason: 'figure_not_ours' });
    expect(figure(first === undefined ? [] : [first], '5')).toMatchObject({ kind: 'person' });
  });
});

describe('plans', () => {
  const topUp: HealAction = { kind: 'top-up', hourMs: AT, quantity: '4', number: 1 };
  const surplus: HealAction = {
    kind: 'person',
    hourMs: AT,
    quantity: '-4',
    reason: 'stripe_holds_more',
    number: 2,
  };

  it('are the same when they do the same', () => {
    expect(isSamePlan([topUp, surplus], [surplus, { ...topUp }])).toBe(true);
    for (const other of [
      { ...topUp, number: 2 },
      { ...topUp, quantity: '5' },
      { ...topUp, hourMs: AT + HOUR_MS },
    ]) {
      expect(isSamePlan([topUp], [other])).toBe(false);
    }
    expect(isSamePlan([topUp], [])).toBe(false);
  });

  it('are bounded by what they send, and not by what they leave to a person', () => {
    expect(isWithinBounds([topUp, surplus], '100', { fractionMax: 0.04 })).toBe(true);
    expect(isWithinBounds([topUp], '100', { fractionMax: 0.03 })).toBe(false);
    expect(isWithinBounds([topUp], '100', { fractionMax: 1, quantityMax: '3.999' })).toBe(false);
    expect(isWithinBounds([topUp], '0', { fractionMax: 1 })).toBe(false);
  });

  it('leave a final invoice to a person, but for what goes to the list of late usage', () => {
    const replace: HealAction = { kind: 'replace', hourMs: AT, quantity: '4', identifiers: ['s1'] };
    const finals = [{ fromMs: AT, toMs: AT + 1 }];
    expect(holdFinal(topUp, finals, AT)).toMatchObject({ kind: 'person', reason: 'invoice_final' });
    expect(holdFinal(topUp, [{ fromMs: AT + 1, toMs: AT + 2 }], AT)).toBe(topUp);
    expect(holdFinal(replace, finals, AT)).toBe(replace);
  });

  it('go by the stamp of what is sent: an hour is compared from the minute in which its period begins', () => {
    const [before, after] = [
      { fromMs: AT - HOUR_MS, toMs: AT + 21_000 },
      { fromMs: AT + 21_000, toMs: AT + HOUR_MS },
    ];
    const stampMs = stampOf(topUp, { periodFromMs: AT + 21_000 });
    expect(stampMs).toBe(AT + 21_000);
    expect(holdFinal(topUp, [after], stampMs)).toMatchObject({ kind: 'person', reason: 'invoice_final', hourMs: AT });
    expect(holdFinal(topUp, [before], stampMs)).toBe(topUp);
    const entries = [entry({ value: '5', state: 'replaced', identifier: 'taken', timestampMs: AT })];
    const action: HealAction = {
      kind: 'take-back',
      hourMs: AT,
      quantity: '-5',
      identifier: 'taken',
      cancelAttempts: 0,
      number: 1,
    };
    expect(stampOf(action, { periodFromMs: AT + 21_000, entries })).toBe(AT);
  });

  it('leave a surplus of a final invoice to a person also where surplus is accepted: it would be taken back each time', () => {
    const surplus = plan([entry({ value: '3' })], '5');
    if (surplus === undefined) throw new Error('no plan');
    expect(surplus).toMatchObject({ kind: 'person', reason: 'stripe_holds_more', quantity: '-2' });
    const held = holdFinal(surplus, [{ fromMs: AT, toMs: AT + HOUR_MS }], AT);
    expect(held).toMatchObject({ kind: 'person', reason: 'invoice_final', quantity: '-2' });
    expect(acceptSurplus([held])).toEqual([held]);
    expect(acceptSurplus([holdFinal(surplus, [], AT)])).toMatchObject([{ kind: 'top-up', quantity: '-2' }]);
  });

  it('take an accepted surplus back by a negative delta', () => {
    const held: HealAction = { ...surplus, reason: 'in_doubt' };
    expect(acceptSurplus([surplus, held])).toEqual([{ kind: 'top-up', hourMs: AT, quantity: '-4', number: 2 }, held]);
  });
});

describe('foldByHour', () => {
  it('puts an entry in its hour, and what precedes the range within its first hour at the start of the range', () => {
    const entries = [entry({ value: '1', timestampMs: AT + 5_000 }), entry({ value: '2', timestampMs: AT + HOUR_MS })];
    const hours = foldByHour(entries, { fromMs: AT + 1_000, nowMs: NOW });
    expect([...hours.keys()]).toEqual([AT + 1_000, AT + HOUR_MS]);
  });

  it('leaves out what a heal was to bring and came too late to be sent for: that is late usage', () => {
    const lost = entry({ value: '5' });
    const heal = entry({ value: '2', subject: 'heal', state: 'replaced' });
    expect(foldHour([lost, heal], NOW).delivered).toBe('5');
    expect(foldHour([lost, { ...heal, isLate: true }], NOW).delivered).toBe('3');
  });

  it('knows what may still change: on its way, in doubt within its time, a heal that waits, an open cancellation', () => {
    const is = (given: Partial<LedgerEntry>): boolean => foldHour([entry({ value: '1', ...given })], NOW).isUnanswered;
    expect(is({ state: 'planned' })).toBe(true);
    expect(is({ state: 'sending' })).toBe(true);
    expect(is({ state: 'in_doubt', firstAttemptAtMs: NOW - 22 * HOUR_MS })).toBe(true);
    expect(is({ state: 'in_doubt', firstAttemptAtMs: NOW - 23 * HOUR_MS })).toBe(false);
    expect(is({ state: 'blocked' })).toBe(false);
    expect(is({ state: 'blocked', subject: 'heal' })).toBe(true);
    expect(is({ state: 'rejected', subject: 'heal' })).toBe(true);
    expect(is({ state: 'replaced', cancellation: { state: 'calling', atMs: AT, attempts: 1 } })).toBe(true);
    expect(is({ state: 'replaced', cancellation: { state: 'done', atMs: AT, attempts: 1 } })).toBe(false);
  });

  it('has another fingerprint after an attempt or a cancellation, and the same after a confirmation', () => {
    const one = entry({ value: '1' });
    const of = (changed: Partial<LedgerEntry>): string => foldHour([{ ...one, ...changed }], NOW).fingerprint;
    expect(of({ state: 'confirmed' })).toBe(of({}));
    const cancellation = { state: 'calling', atMs: AT, attempts: 1 } as const;
    const others = [{ attempts: 2 }, { state: 'rejected' as const }, { cancellation }, { isOffset: true }];
    expect(new Set([{}, ...others].map(of)).size).toBe(5);
  });
});

function nameOf({ identifier }: LedgerEntry): string {
  return identifier;
}

function valueOf(entries: readonly LedgerEntry[], identifier: string): string {
  return entries.find((one) => one.identifier === identifier)?.value ?? '0';
}

function negative(quantity: string): string {
  return subtractQuantities('0', quantity);
}

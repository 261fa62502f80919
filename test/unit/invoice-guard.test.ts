import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { advanceKey, settleCall } from '../../src/invoice-guard/guard-call.ts';
import {
  decideGuard,
  GUARD_STATES,
  type GuardDecision,
  type GuardedInvoice,
  type GuardEvidence,
  type GuardState,
  type InvoiceGuard,
  newGuard,
} from '../../src/invoice-guard/invoice-guard.ts';
import { MINUTE_MS } from '../../src/platform/durations.ts';

const CREATED_MS = Date.parse('2026-02-28T10:23:45Z');
const FINALIZES_MS = CREATED_MS + 60 * MINUTE_MS;
const MARGIN_MS = 10 * MINUTE_MS;
const DUE_MS = FINALIZES_MS - MARGIN_MS;
const DRAFT: GuardedInvoice = {
  status: 'draft',
  autoAdvance: true,
  finalizesAtMs: FINALIZES_MS,
  createdAtMs: CREATED_MS,
};
const HELD: GuardedInvoice = { status: 'draft', autoAdvance: false, createdAtMs: CREATED_MS };
const RELEASE = { actor: 'dana', reason: 'seen', atMs: CREATED_MS };

interface Case extends Partial<GuardEvidence> {
  readonly guard?: Partial<InvoiceGuard>;
  readonly nowMs?: number;
  readonly withoutVerdict?: 'hold' | 'release';
}

function decide(state: GuardState, given: Case = {}): GuardDecision {
  const { guard, nowMs = CREATED_MS, withoutVerdict = 'hold', ...evidence } = given;
  return decideGuard(
    { ...newGuard(CREATED_MS), state, ...guard },
    { invoice: DRAFT, isFresh: true, lines: 'different', isWorkWaiting: false, ...evidence },
    { nowMs, marginMs: MARGIN_MS, withoutVerdict },
  );
}

describe('the guard of a draft', () => {
  it.each<[string, GuardState, Case, GuardState, string]>([
    ['passes when both sides are equal', 'watching', { lines: 'equal' }, 'passed', 'none'],
    ['is watched again when they no longer are', 'passed', {}, 'watching', 'none'],
    ['waits before its time, however different', 'watching', { nowMs: DUE_MS - 1 }, 'watching', 'none'],
    ['asks Stripe before it holds', 'watching', { nowMs: DUE_MS, isFresh: false }, 'watching', 'fetch'],
    ['is held when they still differ', 'watching', { nowMs: DUE_MS }, 'holding', 'hold'],
    ['is held when they differ again', 'passed', { nowMs: DUE_MS }, 'holding', 'hold'],
    ['is held without a verdict', 'watching', { nowMs: DUE_MS, lines: 'unknown' }, 'holding', 'hold'],
    [
      'is let go without a verdict where that is the rule',
      'watching',
      { nowMs: DUE_MS, lines: 'unknown', withoutVerdict: 'release' },
      'passed',
      'none',
    ],
    [
      'is held where they differ, whatever the rule without a verdict',
      'watching',
      { nowMs: DUE_MS, withoutVerdict: 'release' },
      'holding',
      'hold',
    ],
    ['is not held where Stripe does not finalise it', 'watching', { nowMs: DUE_MS, invoice: HELD }, 'watching', 'none'],
    [
      'is not held once a person said so',
      'watching',
      { nowMs: DUE_MS, guard: { release: RELEASE } },
      'released',
      'none',
    ],
    ['is not held a second time', 'released', { nowMs: DUE_MS }, 'released', 'none'],
    [
      'is looked for when the mirror has it no more',
      'passed',
      { invoice: undefined, isFresh: false },
      'passed',
      'fetch',
    ],
    ['ends when it was deleted', 'passed', { invoice: undefined }, 'final', 'none'],
    ['ends when it is open', 'watching', { invoice: { ...DRAFT, status: 'open' } }, 'final', 'none'],
  ])('%s', (_what, state, given, next, action) => {
    const decision = decide(state, given);
    expect([decision.guard.state, decision.action]).toEqual([next, action]);
  });

  it('remembers what auto_advance was, once', () => {
    expect(decide('watching', { nowMs: DUE_MS }).guard.previousAutoAdvance).toBe(true);
    for (const state of GUARD_STATES) {
      for (const invoice of [DRAFT, HELD, { ...HELD, status: 'open' }, { ...DRAFT, status: 'paid' }, undefined]) {
        const { guard } = decide(state, { invoice, nowMs: DUE_MS, guard: { previousAutoAdvance: true } });
        expect(guard.previousAutoAdvance).toBe(true);
      }
    }
  });

  it('is looked at every minute while work is done for it, then more rarely, and at its time', () => {
    const delays = [0, 1, 5, 9, 10, 12].map((checks) => {
      const given = { guard: { checks }, nowMs: CREATED_MS };
      const wait = (isWorkWaiting: boolean): number =>
        ((decide('watching', { ...given, isWorkWaiting }).guard.checkAtMs ?? 0) - CREATED_MS) / MINUTE_MS;
      return [wait(true), wait(false)];
    });
    expect(delays).toEqual([
      [1, 1],
      [1, 2],
      [1, 30],
      [1, 30],
      [30, 30],
      [30, 30],
    ]);
    const late = decide('watching', { guard: { checks: 6 }, nowMs: DUE_MS - 3 * MINUTE_MS });
    expect(late.guard.checkAtMs).toBe(DUE_MS);
  });

  it('is looked at once more shortly before its time when it passed, and then when it should be final', () => {
    const passed = decide('watching', { lines: 'equal' }).guard;
    expect(passed.checkAtMs).toBe(DUE_MS - 5 * MINUTE_MS);
    const last = decide('passed', { lines: 'equal', nowMs: passed.checkAtMs ?? 0, guard: passed }).guard;
    expect(last.checkAtMs).toBe(FINALIZES_MS + 2 * MINUTE_MS);
    const unheard = decide('passed', { lines: 'equal', nowMs: last.checkAtMs ?? 0, isFresh: false });
    expect(unheard.action).toBe('fetch');
  });

  it('takes an hour from its creation for the time of an invoice that does not say', () => {
    const { finalizesAtMs: _none, ...silent } = DRAFT;
    expect(decide('watching', { invoice: silent, nowMs: DUE_MS - 1 }).action).toBe('none');
    expect(decide('watching', { invoice: silent, nowMs: DUE_MS }).action).toBe('hold');
  });
});

describe('the guard of a held invoice', () => {
  const open = { ...HELD, status: 'open' };
  it.each<[string, GuardState, Case, GuardState, string]>([
    ['calls again when nobody knows what came of the call', 'holding', {}, 'holding', 'hold'],
    ['calls again also where the hold shows', 'holding', { invoice: HELD }, 'holding', 'hold'],
    ['calls again also where it was finalised meanwhile', 'holding', { invoice: open }, 'holding', 'hold'],
    ['asks Stripe first', 'held', { isFresh: false, invoice: HELD }, 'held', 'fetch'],
    ['waits while the two sides differ', 'held', { invoice: HELD }, 'held', 'none'],
    ['waits while they are not known', 'held', { invoice: HELD, lines: 'unknown' }, 'held', 'none'],
    ['releases when they are equal', 'held', { invoice: HELD, lines: 'equal' }, 'releasing', 'release'],
    ['releases when a person says so', 'held', { invoice: HELD, guard: { release: RELEASE } }, 'releasing', 'release'],
    ['sees that someone released it at Stripe', 'held', { invoice: DRAFT }, 'released', 'none'],
    ['lets what was finalised by hand be collected', 'held', { invoice: open }, 'releasing', 'release'],
    ['ends when it was finalised and advances', 'held', { invoice: { ...open, autoAdvance: true } }, 'final', 'none'],
    ['ends when it was voided', 'held', { invoice: { ...HELD, status: 'void' } }, 'final', 'none'],
    ['ends when it was deleted', 'held', { invoice: undefined }, 'final', 'none'],
    ['releases again when nobody knows what came of it', 'releasing', { invoice: HELD }, 'releasing', 'release'],
    ['releases again also where it shows', 'releasing', { invoice: DRAFT }, 'releasing', 'release'],
    ['does not release what is over', 'releasing', { invoice: { ...HELD, status: 'paid' } }, 'final', 'none'],
  ])('%s', (_what, state, given, next, action) => {
    const decision = decide(state, { guard: { previousAutoAdvance: true }, ...given });
    expect([decision.guard.state, decision.action]).toEqual([next, action]);
  });

  it('says who released it', () => {
    const by = (given: Case): unknown => decide('held', given).guard.releasedBy;
    expect(by({ invoice: HELD, guard: { release: RELEASE } })).toBe('dana');
    expect(by({ invoice: HELD, lines: 'equal' })).toBe('tallystick');
    expect(by({ invoice: DRAFT })).toBe('stripe');
  });
});

describe('a call', () => {
  const holding: InvoiceGuard = { ...newGuard(0), state: 'holding', previousAutoAdvance: true };

  it.each<[string, Parameters<typeof settleCall>[1], number, string]>([
    ['nothing was answered', { kind: 'failed', kept: 'no' }, 9, '0'],
    ['the answer may not be kept', { kind: 'failed', kept: 'perhaps' }, 3, '0'],
    ['the refusal may not be kept', { kind: 'refused', message: 'no', kept: 'perhaps' }, 3, '0'],
    ['Stripe repeated the answer', { kind: 'failed', kept: 'yes' }, 1, '1'],
    ['Stripe repeated the refusal', { kind: 'refused', message: 'no', kept: 'yes' }, 1, '1'],
    ['no answer is ever said to be repeated', { kind: 'failed', kept: 'perhaps' }, 4, '1'],
    ['no refusal is ever said to be repeated', { kind: 'refused', message: 'no', kept: 'perhaps' }, 4, '1'],
  ])('is made again under the right key when %s', (_, outcome, checks, key) => {
    const next = settleCall({ ...holding, checks }, outcome, { action: 'hold', nowMs: 5 });
    expect(advanceKey('in_1', next, 'hold')).toBe(`tallystick-hold:in_1:${key}`);
  });

  it('is made again at once under a new key after a failure, and after a while when it is refused', () => {
    const at = { action: 'hold', nowMs: 5 } as const;
    const waiting = { ...holding, checks: 2, checkAtMs: 60_000 };
    expect(settleCall(waiting, { kind: 'failed', kept: 'yes' }, at)).toMatchObject({ checks: 0, checkAtMs: 5 });
    const refused = settleCall(waiting, { kind: 'refused', message: 'no', kept: 'yes' }, at);
    expect(refused).toMatchObject({ checks: 2, checkAtMs: 60_000 });
  });

  it('leads on when it was done, and the guard looks again at once', () => {
    const held = settleCall(holding, { kind: 'done' }, { action: 'hold', nowMs: 5 });
    expect(held).toMatchObject({ state: 'held', heldAtMs: 5, checkAtMs: 5, checks: 0 });
    const released = settleCall({ ...held, state: 'releasing' }, { kind: 'done' }, { action: 'release', nowMs: 9 });
    expect(released).toMatchObject({ state: 'released', releasedAtMs: 9, checkAtMs: 9, previousAutoAdvance: true });
  });
});

describe('the guard of a final invoice', () => {
  const paid = { ...DRAFT, status: 'paid' };

  it('is done when it bills what was used', () => {
    expect(decide('passed', { invoice: paid, lines: 'equal' }).guard).toMatchObject({ state: 'final', checks: 0 });
    expect(decide('passed', { invoice: paid, lines: 'equal' }).guard.checkAtMs).toBeUndefined();
  });

  it('compares a few times more when it does not, and is done once late usage explains it', () => {
    let { guard } = decide('passed', { invoice: paid });
    const delays: number[] = [];
    let nowMs = CREATED_MS;
    while (guard.checkAtMs !== undefined && delays.length < 10) {
      expect(guard.differs).toBe(true);
      delays.push((guard.checkAtMs - nowMs) / MINUTE_MS);
      nowMs = guard.checkAtMs;
      guard = decide('final', { invoice: paid, guard, nowMs }).guard;
    }
    expect(delays).toEqual([10, 60, 360, 1440]);
    const explained = decide('final', { invoice: paid, lines: 'equal', guard: { differs: true, checks: 1 } }).guard;
    expect(explained.differs).toBeUndefined();
    expect(explained.checkAtMs).toBeUndefined();
  });

  it('compares nothing of one that was voided', () => {
    const { guard } = decide('released', { invoice: { ...paid, status: 'void' } });
    expect(guard).toMatchObject({ state: 'final', reason: 'void' });
    expect(guard.differs).toBeUndefined();
  });
});

describe('any guard', () => {
  const anyEvidence = fc.record({
    invoice: fc.option(
      fc.record({
        status: fc.constantFrom('draft', 'open', 'paid', 'uncollectible', 'void'),
        autoAdvance: fc.boolean(),
        createdAtMs: fc.constant(CREATED_MS),
      }),
      { nil: undefined },
    ),
    isFresh: fc.boolean(),
    lines: fc.constantFrom('equal' as const, 'different' as const, 'unknown' as const),
    isWorkWaiting: fc.boolean(),
  });

  it('is decided at once with a fresh invoice, holds only what advances, and always has a next look but at the end', () => {
    fc.assert(
      fc.property(
        anyEvidence,
        fc.constantFrom(...GUARD_STATES),
        fc.integer({ min: 0, max: 12 }),
        fc.integer({ min: 0, max: 120 }),
        (evidence, state, checks, minutes) => {
          const nowMs = CREATED_MS + minutes * MINUTE_MS;
          const decision = decide(state, { ...evidence, guard: { checks, previousAutoAdvance: true }, nowMs });
          if (decision.action === 'fetch') {
            expect(evidence.isFresh).toBe(false);
            return;
          }
          if (decision.guard.state !== 'final') expect(decision.guard.checkAtMs).toBeGreaterThan(nowMs);
          if (decision.action === 'hold' && state !== 'holding') {
            expect(evidence).toMatchObject({ isFresh: true, invoice: { status: 'draft', autoAdvance: true } });
          }
          if (decision.action === 'release') {
            expect(evidence.isFresh && ['draft', 'open'].includes(evidence.invoice?.status ?? '')).toBe(true);
          }
        },
      ),
    );
  });
});

import { DAY_MS, HOUR_MS, MINUTE_MS } from '../platform/durations.ts';
import type { LinesVerdict } from './guarded-line.ts';

/**
 * Where the guard of one invoice stands.
 *
 * - `watching`: our figures and Stripe's are not known to be equal yet.
 * - `passed`: they were equal; looked at once more before the invoice is finalised.
 * - `holding`, `releasing`: stored before the call that keeps Stripe from finalising the invoice, or lets it again.
 * - `held`: Stripe does not finalise it; looked at until the figures are equal or a person releases it.
 * - `released`: Stripe finalises it whatever else comes. An invoice is held once at most.
 * - `final`: finalised, voided or deleted; its lines were compared with our figures.
 */
export type GuardState = 'watching' | 'passed' | 'holding' | 'held' | 'releasing' | 'released' | 'final';

export const GUARD_STATES: readonly GuardState[] = [
  'watching',
  'passed',
  'holding',
  'held',
  'releasing',
  'released',
  'final',
];

/** In these a person can release an invoice, or say beforehand that it is not to be held. */
export const RELEASABLE_STATES: readonly GuardState[] = ['watching', 'passed', 'holding', 'held'];

export interface InvoiceGuard {
  readonly state: GuardState;
  /** When Stripe is to finalise the invoice by itself, as last known. */
  readonly finalizesAtMs?: number;
  /** What `auto_advance` was before the hold. */
  readonly previousAutoAdvance?: boolean;
  /** When it is looked at again; absent when nothing is left to be done. */
  readonly checkAtMs?: number;
  /** Looks in a row that changed nothing. */
  readonly checks: number;
  /** Idempotency keys that are used up by an answer that Stripe keeps, so that the next call needs another. */
  readonly holdAnswers: number;
  readonly releaseAnswers: number;
  readonly heldAtMs?: number;
  readonly releasedAtMs?: number;
  /** Whoever let the invoice go: a person, `tallystick`, or `stripe` for someone who did it there. */
  readonly releasedBy?: string;
  /** Why it is in this state. */
  readonly reason?: string;
  /** A person said that it is to be released. */
  readonly release?: { readonly actor: string; readonly reason: string; readonly atMs: number };
  /** The final invoice does not bill what our figures say. */
  readonly differs?: true;
}

/** An invoice as far as the guard goes. */
export interface GuardedInvoice {
  readonly status: string;
  readonly autoAdvance: boolean;
  readonly finalizesAtMs?: number;
  readonly createdAtMs: number;
}

/** What is known at a look. */
export interface GuardEvidence {
  /** Undefined: Stripe has it no more. */
  readonly invoice: GuardedInvoice | undefined;
  /** It was fetched after the guard was read; else it is what the mirror holds. */
  readonly isFresh: boolean;
  readonly lines: LinesVerdict;
  /** Usage of the period waits to be derived, planned or sent. */
  readonly isWorkWaiting: boolean;
}

export interface GuardRule {
  readonly nowMs: number;
  /** How long before its finalisation an invoice without agreement is held. */
  readonly marginMs: number;
  /** What becomes of one that could not be compared in time. */
  readonly withoutVerdict: 'hold' | 'release';
}

/** What is to be done: `fetch` the invoice and decide again, or store the guard and then call Stripe. */
export type GuardAction = 'none' | 'fetch' | 'hold' | 'release';

export interface GuardDecision {
  readonly guard: InvoiceGuard;
  readonly action: GuardAction;
}

/** Looks follow each other at doubling distances up to this. */
const CHECK_MS_MAX = 30 * MINUTE_MS;
/** While work was asked for, so often at most, it is looked at every minute. */
const FLUSH_CHECKS_MAX = 10;
/** The last look at an invoice that passed comes this long before it would be held: late usage can still be sent. */
const LAST_LOOK_MS = 5 * MINUTE_MS;
/** Nobody finalises it by itself: the mirror tells when something changes. */
const IDLE_CHECK_MS = 6 * HOUR_MS;
/** Stripe finalises some time after the instant it names. */
const FINALISED_MS = 2 * MINUTE_MS;
/** Stripe's own default; for an invoice that does not say when it will be finalised. */
const GRACE_MS = HOUR_MS;
/** When a final invoice that differs is compared again: late usage may come to explain it. */
const FINAL_CHECKS_MS: readonly number[] = [10 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, DAY_MS];

/** A guard that has not looked yet. */
export function newGuard(nowMs: number): InvoiceGuard {
  return { state: 'watching', checkAtMs: nowMs, checks: 0, holdAnswers: 0, releaseAnswers: 0 };
}

/** Whether the lines of an invoice of this status are compared with what is billed. */
export function isBilled(status: string): boolean {
  return status !== 'draft' && status !== 'void';
}

/** The decision table: what becomes of a guard, given what is known now. The guard is stored before the action. */
export function decideGuard(guard: InvoiceGuard, evidence: GuardEvidence, rule: GuardRule): GuardDecision {
  const { invoice } = evidence;
  switch (guard.state) {
    case 'watching':
    case 'passed':
    case 'released':
      if (invoice?.status === 'draft') return whileDraft(guard, { ...evidence, invoice }, rule);
      return evidence.isFresh || invoice !== undefined ? finish(guard, evidence, rule) : fetch(guard);
    case 'holding':
      // Always called, also where the hold shows already: a call of a process that was taken for gone comes to nothing
      // once its idempotency key was answered.
      if (!evidence.isFresh) return fetch(guard);
      return isOpenEnded(invoice) ? call(guard, 'hold', rule) : finish(guard, evidence, rule);
    case 'held':
      if (!evidence.isFresh) return fetch(guard);
      return isOpenEnded(invoice) ? whileHeld(guard, { ...evidence, invoice }, rule) : finish(guard, evidence, rule);
    case 'releasing':
      if (!evidence.isFresh) return fetch(guard);
      return isOpenEnded(invoice) ? call(guard, 'release', rule) : finish(guard, evidence, rule);
    case 'final':
      return finish(guard, evidence, rule);
  }
}

type Known = GuardEvidence & { readonly invoice: GuardedInvoice };

/** Where `auto_advance` still means something: it finalises a draft and collects an open invoice. */
function isOpenEnded(invoice: GuardedInvoice | undefined): invoice is GuardedInvoice {
  return invoice?.status === 'draft' || invoice?.status === 'open';
}

/** A draft that is not held. */
function whileDraft(guard: InvoiceGuard, evidence: Known, rule: GuardRule): GuardDecision {
  const { invoice, isFresh, lines } = evidence;
  const { nowMs } = rule;
  const finalizesAtMs = finalisationOf(invoice);
  const { finalizesAtMs: _before, ...rest } = guard;
  const seen: InvoiceGuard = finalizesAtMs === undefined ? rest : { ...rest, finalizesAtMs };
  // The mirror may not have heard yet that Stripe has finalised it.
  const isPast = finalizesAtMs !== undefined && nowMs >= finalizesAtMs;
  if (isPast && !isFresh) return fetch(seen);
  if (guard.state === 'released') {
    if (invoice.autoAdvance) return settled(seen, { ...evidence, state: 'released' }, rule);
    // Whoever keeps it from advancing now is not known: a person has to look.
    return isFresh
      ? settled({ ...seen, reason: 'not_advancing' }, { ...evidence, state: 'released' }, rule)
      : fetch(seen);
  }
  if (guard.release !== undefined) return settled(letGo(seen, nowMs), { ...evidence, state: 'released' }, rule);
  if (lines === 'equal') return settled(seen, { ...evidence, state: 'passed' }, rule);
  const isDue = finalizesAtMs !== undefined && nowMs >= finalizesAtMs - rule.marginMs;
  if (!isDue) return wait(seen, { ...evidence, state: 'watching' }, rule);
  if (!isFresh) return fetch(seen);
  if (lines === 'unknown' && rule.withoutVerdict === 'release') {
    return settled({ ...seen, reason: 'without_verdict' }, { ...evidence, state: 'passed' }, rule);
  }
  const reason = lines === 'different' ? 'different' : 'without_verdict';
  return call({ ...seen, state: 'holding', checks: 0, reason, previousAutoAdvance: invoice.autoAdvance }, 'hold', rule);
}

/** When Stripe will finalise a draft; undefined while it will not: then there is nothing to hold. */
function finalisationOf({ autoAdvance, finalizesAtMs, createdAtMs }: GuardedInvoice): number | undefined {
  return autoAdvance ? (finalizesAtMs ?? createdAtMs + GRACE_MS) : undefined;
}

/** Held, and fetched since. */
function whileHeld(guard: InvoiceGuard, evidence: Known, rule: GuardRule): GuardDecision {
  const { invoice, lines } = evidence;
  const { nowMs } = rule;
  if (invoice.autoAdvance) {
    const released = { ...guard, releasedAtMs: nowMs, releasedBy: 'stripe', reason: 'released_at_stripe' };
    if (invoice.status === 'open') return finish(released, evidence, rule);
    return settled(released, { ...evidence, state: 'released' }, rule);
  }
  if (guard.release !== undefined)
    return call({ ...letGo(guard, nowMs), state: 'releasing', checks: 0 }, 'release', rule);
  // Someone finalised it by hand: our hold must not keep it from being collected.
  const reason = invoice.status === 'open' ? 'finalised_at_stripe' : lines === 'equal' ? 'equal' : undefined;
  if (reason === undefined) return wait(guard, { ...evidence, state: 'held' }, rule);
  return call({ ...guard, state: 'releasing', checks: 0, releasedBy: 'tallystick', reason }, 'release', rule);
}

function letGo(guard: InvoiceGuard, nowMs: number): InvoiceGuard {
  const { release } = guard;
  if (release === undefined) return guard;
  return { ...guard, releasedBy: release.actor, reason: release.reason, releasedAtMs: nowMs };
}

function fetch(guard: InvoiceGuard): GuardDecision {
  return { guard, action: 'fetch' };
}

/** A call that is stored before it is made; if it is never heard of again, it is made again after a minute. */
function call(guard: InvoiceGuard, action: 'hold' | 'release', { nowMs }: GuardRule): GuardDecision {
  return { guard: { ...guard, checks: guard.checks + 1, checkAtMs: nowMs + delayMs(guard) }, action };
}

/** Nothing more has to happen before finalisation but one last look. */
function settled(guard: InvoiceGuard, evidence: Known & { state: GuardState }, rule: GuardRule): GuardDecision {
  const { finalizesAtMs } = guard;
  const { state, isWorkWaiting } = evidence;
  const { nowMs, marginMs } = rule;
  const isSame = guard.state === state;
  const next = { ...guard, state, checks: isSame ? guard.checks + 1 : 0 };
  if (finalizesAtMs === undefined) {
    return { guard: { ...next, checkAtMs: nowMs + IDLE_CHECK_MS }, action: 'none' };
  }
  const lastLookMs = finalizesAtMs - marginMs - LAST_LOOK_MS;
  const soonMs = nowMs + delayMs(next);
  const isFlushing = isWorkWaiting && soonMs < finalizesAtMs;
  const checkAtMs = isFlushing
    ? soonMs
    : nowMs < lastLookMs
      ? lastLookMs
      : Math.max(finalizesAtMs + FINALISED_MS, soonMs);
  return { guard: { ...next, checkAtMs }, action: 'none' };
}

/** Not equal yet: another look, with growing distance, but one when the invoice would have to be held. */
function wait(guard: InvoiceGuard, evidence: Known & { state: GuardState }, rule: GuardRule): GuardDecision {
  const { nowMs, marginMs } = rule;
  const isFlushing = evidence.isWorkWaiting && guard.checks < FLUSH_CHECKS_MAX;
  const nextMs = nowMs + (isFlushing ? MINUTE_MS : delayMs(guard));
  const dueMs = (guard.finalizesAtMs ?? Infinity) - marginMs;
  const checkAtMs = evidence.state === 'watching' && dueMs > nowMs ? Math.min(nextMs, dueMs) : nextMs;
  return { guard: { ...guard, state: evidence.state, checks: guard.checks + 1, checkAtMs }, action: 'none' };
}

function delayMs({ checks }: InvoiceGuard): number {
  return Math.min(MINUTE_MS * 2 ** Math.min(checks, 10), CHECK_MS_MAX);
}

/** The invoice is final, void or gone. Where it does not bill what our figures say, it is compared a few times more. */
function finish(guard: InvoiceGuard, { invoice, lines }: GuardEvidence, { nowMs }: GuardRule): GuardDecision {
  const { checkAtMs: _before, differs: _differed, ...rest } = guard;
  const isFirst = guard.state !== 'final';
  const ended = { ...rest, state: 'final' as const, checks: isFirst ? 0 : guard.checks + 1 };
  if (invoice === undefined) return { guard: { ...ended, reason: 'deleted' }, action: 'none' };
  if (!isBilled(invoice.status)) return { guard: { ...ended, reason: invoice.status }, action: 'none' };
  if (lines !== 'different') return { guard: ended, action: 'none' };
  const delay = FINAL_CHECKS_MS[ended.checks];
  const checkAtMs = delay === undefined ? undefined : nowMs + delay;
  return {
    guard: { ...ended, differs: true, ...(checkAtMs !== undefined && { checkAtMs }) },
    action: 'none',
  };
}

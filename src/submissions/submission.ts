import { createHash } from 'node:crypto';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../platform/durations.ts';

/**
 * The outbox entry of one meter event. `planned → sending → accepted → confirmed` is the way of nearly all of them.
 *
 * - `duplicate`: Stripe said the identifier exists already, so it was delivered before.
 * - `blocked`: cannot be sent yet (customer not mapped, meter missing); waits for the cause to be mended.
 * - `rejected`: Stripe understood and refuses, at once or later.
 * - `in_doubt`: sent, and no answer, or an answer that leaves open whether it counted.
 * - `replaced`: a successor carries its value; created together with that move.
 */
export type SubmissionState =
  'planned' | 'sending' | 'accepted' | 'confirmed' | 'duplicate' | 'blocked' | 'rejected' | 'in_doubt' | 'replaced';

export const SUBMISSION_STATES: readonly SubmissionState[] = [
  'planned',
  'sending',
  'accepted',
  'confirmed',
  'duplicate',
  'blocked',
  'rejected',
  'in_doubt',
  'replaced',
];

/** What can happen to a submission. */
export type SubmissionChange =
  | 'attempt'
  | 'accept'
  | 'find-duplicate'
  /** Stripe took nothing and keeps nothing: 429, 409. */
  | 'decline'
  /** The same, or a refusal, while an earlier attempt may have counted. */
  | 'decline-in-doubt'
  | 'lose-answer'
  | 'reject'
  | 'block'
  | 'unblock'
  /** In doubt, and no attempt can be made now. */
  | 'postpone'
  | 'confirm'
  /** In doubt, and Stripe's totals do not tell: a person decides. */
  | 'leave-undecided'
  /** Rejected, and the cause is not mended yet: looked at again later. */
  | 'keep-rejected'
  | 'replace';

/** The one table of state changes: what is not in it cannot happen. Every change is a compare-and-set on the state. */
const TRANSITIONS: Record<SubmissionState, Partial<Record<SubmissionChange, SubmissionState>>> = {
  planned: { attempt: 'sending', block: 'blocked', replace: 'replaced' },
  sending: {
    accept: 'accepted',
    'find-duplicate': 'duplicate',
    decline: 'planned',
    'decline-in-doubt': 'in_doubt',
    'lose-answer': 'in_doubt',
    reject: 'rejected',
    block: 'blocked',
  },
  in_doubt: {
    attempt: 'sending',
    postpone: 'in_doubt',
    confirm: 'confirmed',
    reject: 'rejected',
    'leave-undecided': 'in_doubt',
    replace: 'replaced',
  },
  accepted: { confirm: 'confirmed', reject: 'rejected', replace: 'replaced' },
  duplicate: { confirm: 'confirmed', reject: 'rejected', replace: 'replaced' },
  confirmed: { reject: 'rejected', replace: 'replaced' },
  blocked: { unblock: 'planned', block: 'blocked', replace: 'replaced' },
  rejected: { 'keep-rejected': 'rejected', replace: 'replaced' },
  replaced: {},
};

/** The state after a change, or undefined where the change cannot happen in this state. */
export function stateAfter(state: SubmissionState, change: SubmissionChange): SubmissionState | undefined {
  return TRANSITIONS[state][change];
}

/** The states from which a change can happen. */
export function statesBefore(change: SubmissionChange): SubmissionState[] {
  return SUBMISSION_STATES.filter((state) => TRANSITIONS[state][change] !== undefined);
}

/** Whether Stripe has answered for good, so that the row behind the submission can be planned again. */
export function isAnswered(state: SubmissionState): boolean {
  return !UNANSWERED.has(state);
}
const UNANSWERED: ReadonlySet<SubmissionState> = new Set(['planned', 'sending', 'blocked', 'in_doubt']);

/** States whose value Stripe has taken, as far as we know. */
export const DELIVERED_STATES: readonly SubmissionState[] = ['accepted', 'duplicate', 'confirmed'];
/** States whose value is on its way, or may be. */
export const IN_FLIGHT_STATES: readonly SubmissionState[] = ['planned', 'sending', 'in_doubt'];

/**
 * No attempt starts later than this after the first: Stripe promises to know an identifier for 24 hours only
 * (API reference, Create a billing meter event), so a later attempt could count twice.
 */
export const ATTEMPT_SPAN_MS_MAX = 23 * HOUR_MS;
/** How old a meter event's timestamp may be (API reference, Create a billing meter event). */
export const TIMESTAMP_AGE_MS_MAX = 35 * DAY_MS;
/** Length of a Stripe identifier (API reference). */
export const IDENTIFIER_LENGTH_MAX = 100;

/** Room for the suffix `~n` of a replacement. */
const SUFFIX_LENGTH_MAX = 8;

/**
 * What a submission is about: a window of an additive meter, the running figure of a period, a shortfall at Stripe that
 * no other submission explains, or usage that came too late for its invoice.
 */
export type SubmissionSubject = 'window' | 'period' | 'heal' | 'late';

export interface IdentifierParts {
  /** Made once for each database, so that a wiped one does not repeat the identifiers of its predecessor. */
  readonly installation: string;
  readonly customerId: string;
  readonly meter: string;
  readonly subject: 'window' | 'period';
  /** Start of the window or of the period, UTC milliseconds. */
  readonly startMs: number;
  /** 1 for the first submission of a row. */
  readonly sequence: number;
}

/**
 * The identifier of a row's nth meter event: the same for the same work, for ever. Readable where the ids are short
 * and plain (`ab12cd34:acme:api_calls:w20261121T05:1`), hashed where they are not (`=` marks a hash).
 */
export function identifierFor(parts: IdentifierParts): string {
  const tail = `${parts.subject === 'window' ? 'w' : 'p'}${compactInstant(parts.startMs)}:${parts.sequence}`;
  const readable = `${parts.installation}:${plainOrHashed(parts.customerId)}:${parts.meter}:${tail}`;
  if (readable.length <= IDENTIFIER_LENGTH_MAX - SUFFIX_LENGTH_MAX) return readable;
  return `${parts.installation}:${hashed(`${parts.customerId}\u001f${parts.meter}`)}:${tail}`;
}

function plainOrHashed(text: string): string {
  return /^[A-Za-z0-9._-]{1,64}$/.test(text) ? text : hashed(text);
}

function hashed(text: string): string {
  return `=${createHash('sha256').update(text).digest('base64url').slice(0, 27)}`;
}

/** `20261121T05` for a whole hour, `20261121T102345` otherwise. */
function compactInstant(instantMs: number): string {
  const digits = new Date(instantMs).toISOString().replace(/[-:]/g, '').slice(0, 15);
  return instantMs % HOUR_MS === 0 ? digits.slice(0, 11) : digits;
}

/** The identifier of the nth replacement of a submission: `<original>~n`. */
export function replacementIdentifier(identifier: string): string {
  const [, original] = /^(.*?)(?:~\d+)?$/.exec(identifier) ?? [];
  return `${original ?? identifier}~${replacementNumber(identifier) + 1}`;
}

/** Which replacement an identifier names; 0 for an original. */
export function replacementNumber(identifier: string): number {
  return Number(/~(\d+)$/.exec(identifier)?.[1] ?? '0');
}

/** What came of one attempt to send. */
export type SendOutcome =
  | { readonly kind: 'accepted' }
  | { readonly kind: 'duplicate' }
  /**
   * Refused without effect (429, 409, breaker open): try again later; spends no attempt. `isBusy`: only because another
   * call for the same customer and meter is under way.
   */
  | { readonly kind: 'declined'; readonly reason: string; readonly isBusy?: true }
  /** An answer of 5xx: it may have counted. */
  | { readonly kind: 'server-error'; readonly reason: string }
  /** No answer: it may have counted. */
  | { readonly kind: 'unanswered'; readonly reason: string }
  | { readonly kind: 'rejected'; readonly reason: string; readonly message: string }
  | { readonly kind: 'blocked'; readonly reason: BlockedReason };

export type BlockedReason =
  | 'customer_not_mapped'
  /** It is Stripe's own id, and another customer is mapped to it. */
  | 'customer_mapped_elsewhere'
  | 'customer_not_found'
  | 'meter_without_stripe'
  | 'meter_missing'
  | 'meter_inactive'
  | 'meter_formula_refused'
  | 'before_submit_from'
  | 'timestamp_too_old';

/** What went before an attempt. */
export interface EarlierAttempts {
  /** One of them had no clear answer. */
  readonly isDoubtful: boolean;
  /** How many had an answer that Stripe keeps under their idempotency key. */
  readonly storedAnswers: number;
}

/**
 * The change an outcome makes.
 *
 * A refusal while an earlier attempt is in doubt settles nothing where the two had different idempotency keys: a 5xx may
 * have counted, and Stripe may look at the meter before it looks for the identifier. Where all had the same key, Stripe
 * would have repeated its answer if one had counted (API reference, Idempotent requests).
 */
export function changeFor(outcome: SendOutcome, earlier: EarlierAttempts): SubmissionChange {
  const mayHaveCounted = earlier.isDoubtful && earlier.storedAnswers > 0;
  switch (outcome.kind) {
    case 'accepted':
      return 'accept';
    case 'duplicate':
      return 'find-duplicate';
    case 'declined':
      return earlier.isDoubtful ? 'decline-in-doubt' : 'decline';
    case 'server-error':
    case 'unanswered':
      return 'lose-answer';
    case 'rejected':
      return mayHaveCounted ? 'decline-in-doubt' : 'reject';
    case 'blocked':
      return mayHaveCounted ? 'decline-in-doubt' : 'block';
  }
}

/** Whether Stripe keeps the answer under the attempt's idempotency key, so that the next attempt needs another. */
export function isAnswerStored({ kind }: SendOutcome): boolean {
  return kind === 'server-error' || kind === 'rejected' || kind === 'blocked';
}

/** Bounds of the wait before the next attempt, by what came of this one. */
const WAITS_MS: Readonly<Record<'declined' | 'refused' | 'lost', readonly [min: number, max: number]>> = {
  declined: [250, 60_000],
  refused: [60_000, HOUR_MS],
  lost: [1_000, 15 * MINUTE_MS],
};

/**
 * How long to wait before the next attempt: doubling with full jitter.
 * @param tries how many attempts of this kind went before (≥ 1).
 * @param random a number in [0, 1).
 */
export function retryDelayMs({ kind }: SendOutcome, tries: number, random: number): number {
  const isRefused = kind === 'rejected' || kind === 'blocked';
  const [min, max] = WAITS_MS[kind === 'declined' ? 'declined' : isRefused ? 'refused' : 'lost'];
  const ceiling = Math.min(max, min * 2 ** Math.min(tries, 20));
  return Math.round(min / 2 + random * (ceiling - min / 2));
}

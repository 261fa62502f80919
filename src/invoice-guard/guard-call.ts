import type { InvoiceGuard } from './invoice-guard.ts';

/** What came of a call to Stripe. */
export type AdvanceOutcome =
  | { readonly kind: 'done' }
  /** Stripe understood and refuses: the invoice may have changed, or the key may not do this. */
  | { readonly kind: 'refused'; readonly message: string; readonly kept: 'perhaps' | 'yes' }
  /** No answer, or one that says nothing of the invoice. */
  | { readonly kind: 'failed'; readonly kept: KeptAnswer };

/**
 * Whether Stripe keeps the answer under its idempotency key, so that the call has no effect under it any more: `yes` where
 * it has said so by repeating the answer. It may look like an answer that is kept, and not be: then the call under the same
 * key is carried out when it comes again.
 */
type KeptAnswer = 'no' | 'perhaps' | 'yes';

/** Answers that may be kept, and are not said to be, after which the key is taken for used up: seven minutes of them. */
const UNPROVEN_CALLS_MAX = 4;

/**
 * The guard after a call, to be stored. It is looked at again at once, or after a while when the call failed.
 *
 * The next call gets another key once this one is seen to be used up. Before that it must not: a process that stood still
 * before it sent the call would send it when everything is over, under a key that Stripe has never carried out.
 */
export function settleCall(
  guard: InvoiceGuard,
  outcome: AdvanceOutcome,
  { action, nowMs }: { action: 'hold' | 'release'; nowMs: number },
): InvoiceGuard {
  if (outcome.kind === 'done') {
    const done = { ...guard, checks: 0, checkAtMs: nowMs };
    return action === 'hold'
      ? { ...done, state: 'held', heldAtMs: nowMs }
      : { ...done, state: 'released', releasedAtMs: nowMs };
  }
  const isUsedUp = outcome.kept === 'yes' || (outcome.kept === 'perhaps' && guard.checks >= UNPROVEN_CALLS_MAX);
  if (!isUsedUp) return guard;
  const answers = action === 'hold' ? 'holdAnswers' : 'releaseAnswers';
  const next = { ...guard, [answers]: guard[answers] + 1 };
  return outcome.kind === 'failed' ? { ...next, checks: 0, checkAtMs: nowMs } : next;
}

/**
 * The idempotency key of a call. Every process that makes the same call makes it under the same key, so that one of them
 * has an effect: a hold that is sent late cannot undo the release.
 */
export function advanceKey(invoiceId: string, guard: InvoiceGuard, action: 'hold' | 'release'): string {
  return `tallystick-${action}:${invoiceId}:${action === 'hold' ? guard.holdAnswers : guard.releaseAnswers}`;
}

/**
 * Taking a meter event out of Stripe's total by its identifier. Recorded before the call; `calling` also stands for an
 * answer that never came, and the call is then made again: a second one has no effect.
 */
export interface Cancellation {
  readonly state: 'calling' | 'done' | 'refused';
  /** When the last call began. */
  readonly atMs: number;
  readonly attempts: number;
}

/** A cancellation as a person sees it. */
export interface ShownCancellation {
  /** The `Idempotency-Key` of the last call: Stripe gives its adjustments no identifier, and its request log has this. */
  readonly idempotencyKey: string;
  readonly state: Cancellation['state'];
  /** When the last call began, RFC 3339 in UTC. */
  readonly at: string;
  /** Calls so far. */
  readonly attempts: number;
  /** Why Stripe refused, or `too_late` where nobody knows the answer and Stripe takes none any more. */
  readonly reason?: string;
}

/** The `Idempotency-Key` of the nth call: Stripe replays what it answered to a key, 5xx too, so each has its own. */
export function cancellationKey(identifier: string, attempts: number): string {
  return `${identifier}.c${attempts}`;
}

/** What is shown of the cancellation of a submission, as it is stored with it. */
export function showCancellation(
  identifier: string,
  stored: { state: Cancellation['state']; at: Date; attempts: number; reason?: string },
): ShownCancellation {
  const { state, at, attempts, reason } = stored;
  return {
    idempotencyKey: cancellationKey(identifier, attempts),
    state,
    at: at.toISOString(),
    attempts,
    ...(reason !== undefined && { reason }),
  };
}

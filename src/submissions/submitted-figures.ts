import type { Quantity } from '../platform/quantity.ts';

/** What our submissions of a range come to. */
export interface SubmittedFigures {
  /** Values that Stripe has taken, as far as we know. */
  readonly delivered: Quantity;
  /** Values planned, being sent or in doubt. */
  readonly inFlight: Quantity;
  readonly blocked: Quantity;
  readonly rejected: Quantity;
  /** Equal texts mean that no submission of the range was added, attempted, cancelled or changed. */
  readonly fingerprint: string;
  readonly lastAttemptAtMs?: number;
}

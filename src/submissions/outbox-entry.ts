import type { Destination } from './sending/destination.ts';
import type { SubmissionChange, SubmissionState } from './submission.ts';
import type { SubmissionMode } from '../meters/stripe-meter.ts';

/** A submission as the jobs that send and settle it work with it. */
export interface OutboxEntry {
  readonly identifier: string;
  readonly customerId: string;
  readonly meter: string;
  readonly value: string;
  readonly timestampMs: number;
  readonly state: SubmissionState;
  /** Absent: `delta`. */
  readonly mode?: SubmissionMode;
  readonly reason?: string;
  readonly dueAtMs?: number;
  readonly attempts: number;
  readonly storedAnswers: number;
  readonly declines: number;
  readonly isDoubtful: boolean;
  /** Present while Stripe may know the identifier. */
  readonly firstAttemptAtMs?: number;
  readonly lastAttemptAtMs?: number;
  /** The destination of the last attempt. */
  readonly stripeCustomerId?: string;
  readonly stripeMeterId?: string;
  /** The row whose figure it carries on. */
  readonly row: RowName;
}

/** A row that planning works on. */
export interface RowName {
  readonly subject: string;
  readonly customerId: string;
  readonly meter: string;
  readonly startMs: number;
}

/** A change to make by compare-and-set on the entry's state and attempts. */
export interface EntryMove {
  readonly entry: OutboxEntry;
  readonly change: SubmissionChange;
  readonly atMs: number;
  readonly reason?: string;
  readonly message?: string;
  /** Who decided it, where a person did. */
  readonly actor?: string;
  readonly dueAtMs?: number;
  /** Stripe keeps the answer under the attempt's idempotency key. */
  readonly isAnswerStored?: boolean;
  /** For `attempt`: what is stored before the call. */
  readonly attempt?: { readonly destination: Destination; readonly idempotencyKey: string };
}

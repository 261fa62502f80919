import type { Destination } from './destination.ts';
import type { SubmissionChange, SubmissionState } from './submission.ts';

/** A submission as the sending job works with it. */
export interface OutboxEntry {
  readonly identifier: string;
  readonly customerId: string;
  readonly meter: string;
  readonly value: string;
  readonly timestampMs: number;
  readonly state: SubmissionState;
  readonly attempts: number;
  readonly storedAnswers: number;
  readonly declines: number;
  readonly isDoubtful: boolean;
  readonly firstAttemptAtMs?: number;
  /** Frozen at the first attempt. */
  readonly stripeCustomerId?: string;
  readonly stripeMeterId?: string;
}

/** A change to make by compare-and-set on the entry's state and attempts. */
export interface EntryMove {
  readonly entry: OutboxEntry;
  readonly change: SubmissionChange;
  readonly atMs: number;
  readonly reason?: string;
  readonly message?: string;
  readonly dueAtMs?: number;
  /** For `attempt`: what is stored before the call. */
  readonly attempt?: { readonly destination: Destination; readonly idempotencyKey: string };
}

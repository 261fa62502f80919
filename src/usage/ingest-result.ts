import type { EventFault } from '../meters/property.ts';

/** What became of an event that obeys the rules. */
export type AppendOutcome = 'accepted' | 'duplicate' | 'conflict';

export interface EventResult {
  /** Position in the request. */
  readonly index: number;
  /** Null when there was none that could be read. */
  readonly idempotencyKey: string | null;
  readonly outcome: 'duplicate' | 'conflict' | 'rejected';
  readonly error?: EventFault;
}

/** Something that was accepted and may not be meant. */
export interface IngestWarning {
  readonly code: string;
  readonly detail: string;
}

/** The answer to a request with usage events. */
export interface IngestResult {
  readonly accepted: number;
  readonly duplicates: number;
  readonly conflicts: number;
  readonly rejected: number;
  /** Every event that was not accepted, in the order of the request. */
  readonly results: readonly EventResult[];
  readonly warnings?: readonly IngestWarning[];
}

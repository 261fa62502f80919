import { MINUTE_MS } from '../../platform/durations.ts';
import { replacementNumber } from '../submission.ts';

/** What a refusal of Stripe's was about, where that can be mended: the customer, the meter, or the time of sending. */
export type MendableCause = 'customer' | 'meter' | 'time';

/** Codes of refusals, at once or in error reports (Stripe docs, Record usage: Handle meter event errors). */
const CAUSES: Readonly<Record<string, MendableCause>> = {
  meter_event_customer_not_found: 'customer',
  resource_missing: 'customer',
  no_meter: 'meter',
  archived_meter: 'meter',
  timestamp_in_future: 'time',
};

/** The cause behind a rejected submission's reason; undefined for those that only a person can judge. */
export function mendableCauseOf(reason: string | undefined): MendableCause | undefined {
  return reason === undefined ? undefined : CAUSES[reason];
}

/** Replacements that are made without a person: refused once more, the cause was not what it seemed. */
export const REPLACEMENTS_MAX = 5;

const LOOK_MS_MIN = 10 * MINUTE_MS;
const LOOK_MS_MAX = 60 * MINUTE_MS;

/**
 * When a rejected submission is first looked at: whether its cause is mended. The nth replacement waits longer, up to
 * half a day.
 * @returns undefined when it waits for a person.
 */
export function firstLookAtMs(rejected: {
  readonly identifier: string;
  readonly reason: string;
  readonly rejectedAtMs: number;
}): number | undefined {
  const number = replacementNumber(rejected.identifier);
  if (mendableCauseOf(rejected.reason) === undefined || number >= REPLACEMENTS_MAX) return undefined;
  return rejected.rejectedAtMs + (number === 0 ? 0 : LOOK_MS_MIN * 4 ** (number - 1));
}

/**
 * When a rejected submission whose cause is not mended is looked at again: seldom, the longer it has waited, and at least
 * each hour.
 */
export function nextLookAtMs(waitedMs: number, nowMs: number): number {
  return nowMs + Math.min(Math.max(waitedMs / 4, LOOK_MS_MIN), LOOK_MS_MAX);
}

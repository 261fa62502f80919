import { hash } from 'node:crypto';
import { DaemonError } from '../platform/errors.ts';
import { countsToMs } from '../customers/calendar/billing-customer.ts';
import { isAdditive, type Meter } from '../meters/meter.ts';
import { parseQuantity, parseSignedNumber, type Quantity } from '../platform/quantity.ts';
import { shortTextFault } from '../platform/short-text.ts';
import { type EventBounds, parseUsageEvent } from './usage-event.ts';
import { ID_BYTES_MAX } from '../platform/id-text.ts';
import type { EventFault } from '../meters/property.ts';

/**
 * A correction after the fact: usage added to one meter of a customer, or taken away from it. A fact like a usage event,
 * never changed and never removed; a wrong one is undone by another.
 */
export interface Adjustment {
  /** Unique among the customer's adjustments, for ever. */
  readonly idempotencyKey: string;
  readonly customerId: string;
  /** The key of the meter. No event type, condition or group stands between. */
  readonly meter: string;
  /** UTC milliseconds. */
  readonly occurredAtMs: number;
  /** May be negative. */
  readonly quantity: Quantity;
  readonly reason: string;
  /** Who says so. */
  readonly actor: string;
}

/** An adjustment as a caller sends it. */
export interface AdjustmentInput {
  readonly idempotencyKey: string;
  readonly customerId: string;
  readonly meter: string;
  /** RFC 3339 with an offset. */
  readonly occurredAt: string;
  /** A decimal text like "-12.50", or a JSON number. */
  readonly quantity: string | number;
  readonly reason: string;
  readonly actor: string;
}

/** The longest reason, in bytes of UTF-8. */
export const REASON_BYTES_MAX = 1_000;
/** What the shared rules are asked about in place of an event type. */
const ANY_EVENT_TYPE = 'adjustment';

/**
 * Checks an adjustment against the rules that it shares with usage events (key, customer, instant, digits) and its own,
 * and brings it into canonical form.
 */
export function parseAdjustment(
  input: AdjustmentInput,
  bounds: EventBounds,
): { adjustment: Adjustment } | { fault: EventFault } {
  const { idempotencyKey, customerId, meter, occurredAt, reason, actor } = input;
  const shared = parseUsageEvent({ idempotencyKey, customerId, occurredAt, eventType: ANY_EVENT_TYPE }, bounds);
  if ('fault' in shared) return { fault: asAdjustmentFault(shared.fault) };
  const quantity = parseSignedQuantity(input.quantity);
  if ('fault' in quantity) return quantity;
  const texts: [name: string, text: string, bytesMax: number][] = [
    ['reason', reason, REASON_BYTES_MAX],
    ['actor', actor, ID_BYTES_MAX],
  ];
  for (const [name, text, bytesMax] of texts) {
    const fault = shortTextFault(text, bytesMax);
    if (fault !== undefined) {
      return { fault: { code: 'adjustment_text_invalid', detail: `${name} ${fault}.`, pointer: `/${name}` } };
    }
  }
  const { occurredAtMs } = shared.event;
  return { adjustment: { idempotencyKey, customerId, meter, occurredAtMs, ...quantity, reason, actor } };
}

function asAdjustmentFault(fault: EventFault): EventFault {
  if (fault.code !== 'occurred_at_too_old') return fault;
  return { ...fault, detail: fault.detail.replace('import it as history', 'correct it as history (?history=true)') };
}

function parseSignedQuantity(input: string | number): { quantity: Quantity } | { fault: EventFault } {
  const parsed = typeof input === 'number' ? parseSignedNumber(input) : parseSignedText(input);
  if ('quantity' in parsed) return parsed;
  const pointer = '/quantity';
  if (parsed.fault === 'digits') {
    const detail = 'quantity may have 15 significant digits, 18 before and 12 after the decimal point.';
    return { fault: { code: 'quantity_too_long', detail, pointer } };
  }
  const detail = 'quantity must be a plain decimal such as "-12.5": no exponent, no plus sign, no other notation.';
  return { fault: { code: 'quantity_invalid', detail, pointer } };
}

function parseSignedText(text: string): ReturnType<typeof parseQuantity> {
  if (!text.startsWith('-')) return parseQuantity(text);
  const magnitude = parseQuantity(text.slice(1));
  return 'fault' in magnitude || magnitude.quantity === '0' ? magnitude : { quantity: `-${magnitude.quantity}` };
}

/**
 * Makes sure that an adjustment can count: only windows that add up can be corrected by a difference.
 * @param countsFromMs since when the meter counts this customer's usage.
 * @throws DaemonError `adjustment_not_additive`, `adjustment_not_whole`, `adjustment_before_meter`,
 *   `adjustment_after_meter`.
 */
export function assertAdjustable(adjustment: Adjustment, meter: Meter, countsFromMs: number): void {
  const refuse = (code: string, pointer: string, message: string): never => {
    throw new DaemonError({ kind: 'invalid', code, message, context: { meter: meter.key, pointer } });
  };
  if (!isAdditive(meter.aggregation)) {
    refuse(
      'adjustment_not_additive',
      '/meter',
      `A ${meter.aggregation} meter does not add up, so a difference cannot correct it: only sum and count meters can be adjusted.`,
    );
  }
  if (meter.aggregation === 'count' && adjustment.quantity.includes('.')) {
    refuse('adjustment_not_whole', '/quantity', 'The meter counts events: an adjustment of it is a whole number.');
  }
  if (adjustment.occurredAtMs < countsFromMs) {
    const from = new Date(countsFromMs).toISOString();
    refuse('adjustment_before_meter', '/occurredAt', `The meter counts this customer's usage from ${from} on.`);
  }
  if (adjustment.occurredAtMs >= countsToMs(meter)) {
    const to = new Date(countsToMs(meter)).toISOString();
    refuse('adjustment_after_meter', '/occurredAt', `The meter is archived: it counts nothing from ${to} on.`);
  }
}

/** 16 bytes that two adjustments share if and only if their content is the same: tells a duplicate from a conflict. */
export function adjustmentFingerprint(adjustment: Adjustment): Buffer {
  const { meter, occurredAtMs, quantity, reason, actor } = adjustment;
  const text = [meter, occurredAtMs, quantity, reason, actor].join('\u001f');
  return hash('sha256', text, 'buffer').subarray(0, 16);
}

/** The names of the fields in which two adjustments with one key differ. */
export function differingAdjustmentFields(a: Adjustment, b: Adjustment): string[] {
  return [
    ...(a.meter === b.meter ? [] : ['meter']),
    ...(a.occurredAtMs === b.occurredAtMs ? [] : ['occurredAt']),
    ...(a.quantity === b.quantity ? [] : ['quantity']),
    ...(a.reason === b.reason ? [] : ['reason']),
    ...(a.actor === b.actor ? [] : ['actor']),
  ];
}

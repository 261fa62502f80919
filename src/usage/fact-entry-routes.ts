/** How lists show raw facts: usage events and, among them, adjustments. */
import { type Static, Type } from 'typebox';
import type { Adjustment } from './adjustment.ts';
import { CustomerId, DecimalText, Instant, MeterKey } from '../platform/http/fields.ts';

/** A usage event as it is shown. */
export interface ShownEvent {
  readonly idempotencyKey: string;
  readonly customerId: string;
  readonly eventType: string;
  readonly occurredAt: string;
  readonly receivedAt: string;
  readonly quantity: string;
  readonly userId?: string;
  readonly properties?: Record<string, string | boolean>;
}

/** A fact as the store gives it. */
export type ShownFact =
  | { readonly kind: 'event'; readonly event: ShownEvent }
  | { readonly kind: 'adjustment'; readonly adjustment: Adjustment & { readonly receivedAtMs: number } };

export const AdjustmentReply = Type.Object({
  idempotencyKey: Type.String(),
  customerId: CustomerId,
  meter: MeterKey,
  occurredAt: Instant,
  receivedAt: Instant,
  quantity: DecimalText,
  reason: Type.String(),
  actor: Type.String(),
});

export const FactEntry = Type.Object({
  kind: Type.Optional(Type.Literal('adjustment', { description: 'Usage events have no kind.' })),
  idempotencyKey: Type.String(),
  customerId: CustomerId,
  eventType: Type.Optional(Type.String({ description: 'Of a usage event.' })),
  meter: Type.Optional(Type.String({ description: 'Of an adjustment: the meter that it corrects.' })),
  occurredAt: Instant,
  receivedAt: Instant,
  quantity: DecimalText,
  userId: Type.Optional(Type.String()),
  properties: Type.Optional(
    Type.Record(Type.String(), Type.Union([Type.String(), Type.Boolean()]), {
      description: 'Numbers are shown as exact decimal texts.',
    }),
  ),
  reason: Type.Optional(Type.String({ description: 'Of an adjustment.' })),
  actor: Type.Optional(Type.String({ description: 'Of an adjustment.' })),
});

export function toFactEntry(fact: ShownFact): Static<typeof FactEntry> {
  return fact.kind === 'event' ? fact.event : { kind: 'adjustment', ...toAdjustmentReply(fact.adjustment) };
}

export function toAdjustmentReply(
  adjustment: Adjustment & { readonly receivedAtMs: number },
): Static<typeof AdjustmentReply> {
  const { occurredAtMs, receivedAtMs, ...rest } = adjustment;
  return {
    ...rest,
    occurredAt: new Date(occurredAtMs).toISOString(),
    receivedAt: new Date(receivedAtMs).toISOString(),
  };
}

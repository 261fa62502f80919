import { type Static, Type } from 'typebox';
import { CustomerId, DecimalText, Instant, MeterKey } from '../platform/http/fields.ts';
import { addQuantities } from '../platform/quantity.ts';
import { UNBILLED_REASONS, type UnbilledPart, type UnbilledReason } from './unbilled-reason.ts';

/** Usage that nothing bills, as it is stored. */
export interface StoredUnbilled {
  readonly customerId: string;
  readonly meter: string;
  readonly unit: string;
  readonly stripeCustomerId: string;
  readonly parts: readonly UnbilledPart[];
  readonly accepted?: string;
  readonly checkedAt: Date;
}

export const UnbilledReply = Type.Object(
  {
    customerId: CustomerId,
    meter: MeterKey,
    unit: Type.String(),
    stripeCustomerId: Type.String(),
    quantity: DecimalText,
    parts: Type.Array(
      Type.Object({
        reason: Type.Unsafe<UnbilledReason>({ type: 'string', enum: [...UNBILLED_REASONS] }),
        from: Instant,
        to: Instant,
        quantity: DecimalText,
      }),
    ),
    accepted: Type.Optional(Type.String({ description: 'Why that is meant: the unbilledReason of the customer.' })),
    checkedAt: Instant,
  },
  { description: 'Usage that is at Stripe, on no invoice, and comes onto none.' },
);

export function toUnbilledReply({ parts, checkedAt, ...rest }: StoredUnbilled): Static<typeof UnbilledReply> {
  return {
    ...rest,
    quantity: addQuantities('0', ...parts.map(({ quantity }) => quantity)),
    parts: toUnbilledParts(parts),
    checkedAt: checkedAt.toISOString(),
  };
}

export function toUnbilledParts(parts: readonly UnbilledPart[]): Static<typeof UnbilledReply>['parts'] {
  return parts.map(({ fromMs, toMs, ...part }) => ({
    ...part,
    from: new Date(fromMs).toISOString(),
    to: new Date(toMs).toISOString(),
  }));
}

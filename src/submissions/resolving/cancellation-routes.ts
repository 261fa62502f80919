import { Type } from 'typebox';
import type { ShownCancellation } from './cancellation.ts';
import { Instant } from '../../platform/http/fields.ts';

/** What came of taking a meter event out of Stripe's total. */
export const CancellationReply = Type.Object(
  {
    idempotencyKey: Type.String({ description: 'The Idempotency-Key of the last call.' }),
    state: Type.Unsafe<ShownCancellation['state']>({
      type: 'string',
      enum: ['calling', 'done', 'refused'],
      description:
        'calling: asked for, and no answer is known yet; done: it no longer counts; refused: it still does, unless a ' +
        'call before the last one had an effect and its answer was lost.',
    }),
    at: Instant,
    attempts: Type.Integer(),
    reason: Type.Optional(Type.String({ description: 'Why it was refused.' })),
  },
  { description: 'It was replaced and counted all the same: what came of cancelling it at Stripe.' },
);

/** The identifier of a negative delta, where a meter event could no longer be cancelled. */
export const OffsetBy = Type.String({
  description: 'It was replaced and counted all the same: the meter event that takes its value back.',
});

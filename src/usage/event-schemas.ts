/** The documented form of usage events and of the answer to them. The domain checks events; these describe them. */
import { Type } from 'typebox';

const id = (description: string) => Type.String({ minLength: 1, maxLength: 255, description });

const EXAMPLE = {
  idempotencyKey: 'req:8f3a',
  customerId: 'acme',
  eventType: 'api_call',
  occurredAt: '2026-11-21T05:00:00Z',
  quantity: '3',
  userId: 'ada',
  properties: { plan: 'pro', region: 'eu' },
};

export const usageEventSchema = Type.Object(
  {
    idempotencyKey: id('Derived from the work; unique per customer, for ever.'),
    customerId: id("Your own id of the customer, or Stripe's cus_…"),
    eventType: Type.String({
      pattern: '^[A-Za-z0-9._:/-]{1,100}$',
      description: 'What happened; meters select by it.',
    }),
    occurredAt: Type.String({ format: 'date-time', description: 'RFC 3339 with an offset; at most 5 minutes ahead.' }),
    quantity: Type.Optional(
      Type.Union([Type.String({ pattern: '^(0|[1-9][0-9]*)(\\.[0-9]{1,12})?$' }), Type.Number({ minimum: 0 })], {
        description: 'At most 15 significant digits; exact decimals belong in strings.',
        default: '1',
      }),
    ),
    userId: Type.Optional(id('The end user within the customer.')),
    properties: Type.Optional(
      Type.Record(
        Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}$' }),
        Type.Union([Type.String(), Type.Number(), Type.Boolean()]),
        { maxProperties: 50, description: 'At most 8 KiB in all.' },
      ),
    ),
  },
  {
    additionalProperties: false,
    description:
      'Something that was used. idempotencyKey and occurredAt belong to the work and stay the same on a retry: the same ' +
      'key with other content is a conflict, and the first one stands.',
    examples: [EXAMPLE],
  },
);

/** One event, an array, or an envelope. */
export const eventsBodySchema = Type.Union([
  usageEventSchema,
  Type.Array(usageEventSchema, { minItems: 1 }),
  Type.Object({ events: Type.Array(usageEventSchema, { minItems: 1 }) }, { additionalProperties: false }),
]);

const faultSchema = Type.Object({
  code: Type.String({ description: 'docs/errors.md explains each.' }),
  detail: Type.String(),
  pointer: Type.String({ description: 'JSON Pointer into the event.' }),
});

export const ingestAnswerSchema = Type.Object({
  accepted: Type.Integer({ description: 'Stored, by a majority and its journal.' }),
  duplicates: Type.Integer({ description: 'The same key with the same content was stored before.' }),
  conflicts: Type.Integer({ description: 'The same key with other content is stored; that one stands.' }),
  rejected: Type.Integer({ description: 'Breaks a rule; kept as a rejected event.' }),
  results: Type.Array(
    Type.Object({
      index: Type.Integer({ description: 'Position in the request, from 0.' }),
      idempotencyKey: Type.Union([Type.String(), Type.Null()]),
      outcome: Type.Union([Type.Literal('duplicate'), Type.Literal('conflict'), Type.Literal('rejected')]),
      error: Type.Optional(faultSchema),
    }),
    { description: 'An entry for every event that was not accepted, in order.' },
  ),
  warnings: Type.Optional(Type.Array(Type.Object({ code: Type.String(), detail: Type.String() }))),
});

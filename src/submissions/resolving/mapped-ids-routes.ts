import { Type } from 'typebox';
import type { MappedIdDecision, MappedIdRecord } from './mapped-id.ts';
import { CustomerId, Instant } from '../../platform/http/fields.ts';
import { problemResponse } from '../../platform/http/problem.ts';
import { type App, needs } from '../../platform/http/route.ts';

export interface MappedIdRoutesDeps {
  decide(input: {
    customerId: string;
    decision: MappedIdDecision;
    actor: string;
    reason: string;
    dryRun?: boolean;
  }): Promise<{ record: MappedIdRecord; blocked: number }>;
}

const Decision = Type.Unsafe<MappedIdDecision>({ type: 'string', enum: ['count', 'set_aside'] });
const PersonText = Type.String({ minLength: 1, maxLength: 255 });
const Body = Type.Object(
  {
    decision: Decision,
    actor: PersonText,
    reason: PersonText,
    dryRun: Type.Optional(Type.Boolean({ description: 'Only say what would be decided.' })),
  },
  { additionalProperties: false },
);
const Reply = Type.Object({
  customerId: CustomerId,
  mappedTo: Type.String({ description: 'The customer that is mapped to this id.' }),
  decision: Decision,
  actor: Type.String(),
  reason: Type.String(),
  at: Instant,
  blocked: Type.Integer({ description: 'Submissions of this id that are blocked at present, at most 500.' }),
});

/** `POST /v1/customers/{customerId}/decide`: what becomes of usage under Stripe's own id of a mapped customer. */
export function registerMappedIds(app: App, deps: MappedIdRoutesDeps): void {
  app.post(
    '/v1/customers/:customerId/decide',
    {
      schema: {
        operationId: 'decideMappedId',
        summary: "Decide what becomes of usage that came under a Stripe customer's id another customer is mapped to.",
        description:
          '`count`: all of it, also what is still to come, counts with the mapped customer: its raw facts are stored ' +
          'there once more, each key once. `set_aside`: what came so far is never billed. Kept with actor and reason.',
        tags: ['customers'],
        security: needs('admin'),
        params: Type.Object({ customerId: CustomerId }),
        body: Body,
        response: { 200: Reply, default: problemResponse },
      },
    },
    async (request) => {
      const { customerId } = request.params;
      const { record, blocked } = await deps.decide({ customerId, ...request.body });
      const { customerId: mappedTo, decision, actor, reason, at } = record;
      return { customerId, mappedTo, decision, actor, reason, at: at.toISOString(), blocked };
    },
  );
}

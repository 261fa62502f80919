import { Type } from 'typebox';
import type { MeterChange, MeterDefinition } from './meter-definition.ts';
import { CustomerId, DecimalText, Instant, MeterKey } from '../platform/http/fields.ts';
import { MeterBody, MeterReply, toMeterReply } from './meters-routes.ts';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';

interface ShownPreview {
  readonly from: string;
  readonly to: string;
  readonly customers: readonly {
    readonly customerId: string;
    readonly quantity: string;
    readonly eventCount: number;
    readonly uncountable: number;
  }[];
  readonly hasMore: boolean;
}

export interface MeterLifeDeps {
  /** When it is archived at the earliest without `from`; with `dryRun` nothing is stored. */
  archiveMeter(input: { key: string; from?: string; dryRun?: boolean }): Promise<{ meter: MeterDefinition }>;
  previewMeter(input: {
    definition: MeterChange;
    from: string;
    to: string;
    customerId?: string;
  }): Promise<ShownPreview>;
}

const Path = Type.Object({ key: MeterKey });

/** `/v1/meters/{key}/archive` and `/v1/meters/preview`: how a meter ends, and how one would begin. */
export function registerMeterLife(app: App, deps: MeterLifeDeps): void {
  app.post(
    '/v1/meters/:key/archive',
    {
      schema: {
        operationId: 'archiveMeter',
        summary: 'Count and send no more from an instant on. What was counted stays, and is still sent and reconciled.',
        tags: ['meters'],
        security: needs('admin'),
        params: Path,
        body: Type.Object(
          {
            from: Type.Optional(
              Type.String({
                description: 'A whole UTC hour at least ten minutes ahead. Default: the next one there is.',
              }),
            ),
            dryRun: Type.Optional(Type.Boolean()),
          },
          { additionalProperties: false },
        ),
        response: { 200: MeterReply, default: problemResponse },
      },
    },
    async (request) => toMeterReply((await deps.archiveMeter({ key: request.params.key, ...request.body })).meter),
  );
  app.post(
    '/v1/meters/preview',
    {
      schema: {
        operationId: 'previewMeter',
        summary: 'What a definition would have counted of past events, customer by customer. Nothing is stored.',
        description:
          'By the derivation that counts for real, with the range as one billing period; at most 100 customers.',
        tags: ['meters'],
        security: needs('usage:read'),
        body: Type.Object(
          { definition: MeterBody, from: Instant, to: Instant, customerId: Type.Optional(CustomerId) },
          { additionalProperties: false },
        ),
        response: {
          200: Type.Object({
            from: Instant,
            to: Instant,
            customers: Type.Array(
              Type.Object({
                customerId: CustomerId,
                quantity: DecimalText,
                eventCount: Type.Integer(),
                uncountable: Type.Integer({ description: 'Events whose value it could not count.' }),
              }),
            ),
            hasMore: Type.Boolean({ description: 'There are more customers than were looked at.' }),
          }),
          default: problemResponse,
        },
      },
    },
    async (request) => {
      const preview = await deps.previewMeter(request.body);
      return { ...preview, customers: [...preview.customers] };
    },
  );
}

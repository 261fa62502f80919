import { type Static, Type } from 'typebox';
import type { LiveUnit } from './live-usage.ts';
import type { UsageQuery } from './usage-query.ts';
import type { UsageReport } from './usage-report.ts';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';
import { CustomerId, DecimalText, Instant, MeterKey } from '../platform/http/fields.ts';

export interface UsageRoutesDeps {
  readUsage(query: UsageQuery): Promise<UsageReport>;
}

const WindowReply = Type.Object({ from: Instant, to: Instant, quantity: DecimalText, eventCount: Type.Integer() });
const GroupReply = Type.Object({
  by: Type.Record(Type.String(), Type.Union([Type.String(), Type.Boolean(), Type.Null()]), {
    description: 'The value of each field asked for; null where the events lack it.',
  }),
  other: Type.Optional(Type.Boolean({ description: 'Stands for groups that were too many to keep.' })),
  quantity: DecimalText,
  eventCount: Type.Integer(),
});
const UsageReply = Type.Object({
  customerId: CustomerId,
  from: Instant,
  to: Instant,
  asOf: Instant,
  meters: Type.Array(
    Type.Object({
      meter: MeterKey,
      unit: Type.String(),
      quantity: DecimalText,
      eventCount: Type.Integer(),
      uncountable: Type.Optional(Type.Integer({ description: 'Events whose value the meter could not count.' })),
      windows: Type.Array(WindowReply, { description: 'In time order; those without usage are left out.' }),
      groups: Type.Optional(Type.Array(GroupReply, { description: 'Those with the most events first.' })),
    }),
  ),
});

const Query = Type.Object(
  {
    from: Type.Optional(Instant),
    to: Type.Optional(Instant),
    period: Type.Optional(Type.Unsafe<'current' | 'previous'>({ enum: ['current', 'previous'] })),
    meter: Type.Optional(MeterKey),
    window: Type.Optional(
      Type.Unsafe<LiveUnit>({ enum: ['hour', 'day', 'total'], description: '`total` by default.' }),
    ),
    groupBy: Type.Optional(
      Type.String({ maxLength: 512, description: 'Fields that the meter keeps, separated by commas.' }),
    ),
  },
  { additionalProperties: false },
);

/** `GET /v1/customers/{customerId}/usage`: live figures, exact at the moment of reading. */
export function registerUsage(app: App, deps: UsageRoutesDeps): void {
  app.get(
    '/v1/customers/:customerId/usage',
    {
      schema: {
        operationId: 'getUsage',
        summary: "A customer's usage, in the current billing period unless a range is given.",
        tags: ['usage'],
        security: needs('usage:read'),
        params: Type.Object({ customerId: CustomerId }),
        querystring: Query,
        response: { 200: UsageReply, default: problemResponse },
      },
    },
    (request) => {
      const { groupBy, ...query } = request.query;
      return show(deps, {
        customerId: request.params.customerId,
        ...query,
        ...(groupBy !== undefined && { groupBy: groupBy.split(',').filter((field) => field.length > 0) }),
      });
    },
  );
}

async function show(deps: UsageRoutesDeps, query: UsageQuery): Promise<Static<typeof UsageReply>> {
  return toReply(await deps.readUsage(query));
}

function toReply(report: UsageReport): Static<typeof UsageReply> {
  return {
    ...report,
    meters: report.meters.map(({ windows, groups, ...meter }) => ({
      ...meter,
      windows: [...windows],
      ...(groups !== undefined && { groups: [...groups] }),
    })),
  };
}

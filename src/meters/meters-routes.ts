import { type Static, Type } from 'typebox';
import type { MeterChange, MeterDefinition } from './meter-definition.ts';
import { AGGREGATIONS, type Aggregation, type LateUsagePolicy } from './meter.ts';
import { DaemonError } from '../platform/errors.ts';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';
import { decodeCursor, pageSchema, pagingQuery, readLimit, toPage } from '../platform/http/cursor.ts';
import { AfterId, DryRunQuery, Instant, isDryRun, MeterKey, NullableText } from '../platform/http/fields.ts';
import type { PropertyValue } from './property.ts';

interface MeterWarning {
  readonly code: string;
  readonly detail: string;
}

export interface MeterRoutesDeps {
  putMeter(input: { key: string; change: MeterChange; dryRun: boolean }): Promise<{ meter: MeterDefinition }>;
  findMeter(key: string): Promise<MeterDefinition | null>;
  /** All of them, by key. */
  listMeters(): Promise<readonly MeterDefinition[]>;
  /** Of each meter that has some, by key. */
  warnings(): Promise<ReadonlyMap<string, readonly MeterWarning[]>>;
}

const AggregationField = Type.Unsafe<Aggregation>({
  enum: AGGREGATIONS,
  description:
    'sum adds the values up, count the events; max is the greatest value, last the latest by occurredAt, unique the ' +
    'number of different values of uniqueBy. Over a billing period, max, last and unique are figures of the whole period.',
});
const LateUsage = Type.Unsafe<LateUsagePolicy>({
  enum: ['review', 'next_period', 'invoice_item'],
  description: 'What to do with usage that comes after its invoice is final.',
});
const ConditionValue = Type.Union([Type.String(), Type.Number(), Type.Boolean()]);
const Condition = Type.Object(
  { property: Type.String(), in: Type.Array(ConditionValue) },
  { additionalProperties: false },
);
const StripeTarget = Type.Object(
  { eventName: Type.String({ description: 'Of one meter here and one at Stripe.' }) },
  { additionalProperties: false },
);

export const MeterReply = Type.Object({
  key: MeterKey,
  displayName: Type.String(),
  unit: Type.String(),
  eventType: Type.String(),
  aggregation: AggregationField,
  valueFrom: Type.String(),
  uniqueBy: Type.Optional(Type.String()),
  where: Type.Array(Condition),
  groupBy: Type.Array(Type.String()),
  effectiveFrom: Type.Optional(Instant),
  lateUsage: LateUsage,
  stripe: Type.Optional(StripeTarget),
  archivedFrom: Type.Optional(
    Type.String({ ...Instant, description: 'Counts and sends nothing from this instant on.' }),
  ),
  inUse: Type.Boolean({ description: 'What it counts can no longer change.' }),
  warnings: Type.Optional(
    Type.Array(Type.Object({ code: Type.String(), detail: Type.String() }), {
      description: 'What of its definition the latest events miss: a value of `where` that has the other type.',
    }),
  ),
  createdAt: Instant,
  updatedAt: Instant,
});

const nullable = <T>(schema: object): ReturnType<typeof Type.Unsafe<T | null>> =>
  Type.Unsafe<T | null>({ anyOf: [schema, { type: 'null' }] });

/** The same schema with a description. */
function described<Schema extends object>(schema: Schema, description: string): Schema {
  return { ...schema, description };
}

export const MeterBody = Type.Object(
  {
    displayName: Type.Optional(
      Type.String({ description: 'For people; the name of the Stripe meter. Default: the key.' }),
    ),
    unit: Type.Optional(Type.String({ description: 'What one of it is: `call`, `GB`, `minute`. Default: `unit`.' })),
    eventType: Type.Optional(Type.String({ description: 'Which events it counts. Required for a new meter.' })),
    aggregation: Type.Optional(AggregationField),
    valueFrom: Type.Optional(
      described(
        NullableText,
        'Where the value is: `quantity` (default) or `properties.<name>`. Not for count and unique.',
      ),
    ),
    uniqueBy: Type.Optional(
      described(NullableText, 'What a unique meter tells apart: `userId` or `properties.<name>`.'),
    ),
    where: Type.Optional(
      described(
        nullable<Static<typeof Condition>[]>(Type.Array(Condition)),
        'Counts only events with one of these values in each of these properties; type and value are compared.',
      ),
    ),
    groupBy: Type.Optional(
      described(
        nullable<string[]>(Type.Array(Type.String())),
        'Splits the figures it shows by `userId` or `properties.<name>`, up to five. Stripe gets the sum of all groups.',
      ),
    ),
    effectiveFrom: Type.Optional(
      described(
        NullableText,
        "The whole hour from which it counts. Default: the start of each customer's open billing period, so that events " +
          'that came before their meter count.',
      ),
    ),
    lateUsage: Type.Optional(LateUsage),
    stripe: Type.Optional(
      described(
        nullable<Static<typeof StripeTarget>>(StripeTarget),
        'The `event_name` of the Stripe meter that gets what it counts; without one it counts and sends nothing. null ' +
          'stops sending, also of a used meter: it can be connected to the same Stripe meter again, and to no other.',
      ),
    ),
    archivedFrom: Type.Optional(
      described(
        NullableText,
        'The whole hour, ahead, from which it counts and sends nothing. null lets it count again, also what came meanwhile.',
      ),
    ),
  },
  {
    additionalProperties: false,
    examples: [
      { eventType: 'api_call', aggregation: 'sum', unit: 'call', stripe: { eventName: 'api_calls' } },
      { eventType: 'login', aggregation: 'unique', uniqueBy: 'userId', unit: 'user', stripe: { eventName: 'seats' } },
      { eventType: 'upload', aggregation: 'max', valueFrom: 'properties.gigabytes', unit: 'GB' },
      {
        eventType: 'request',
        aggregation: 'count',
        where: [{ property: 'status', in: ['200', '201'] }],
        groupBy: ['properties.region'],
      },
    ],
  },
);

const Path = Type.Object({ key: MeterKey });
const MeterList = pageSchema(MeterReply);
const ListQuery = Type.Object(pagingQuery, { additionalProperties: false });

/** `/v1/meters`: what is counted. */
export function registerMeters(app: App, deps: MeterRoutesDeps): void {
  app.put(
    '/v1/meters/:key',
    {
      schema: {
        operationId: 'putMeter',
        summary: 'Create a meter, or change the given fields of one: absent fields stay, null clears.',
        description:
          'A meter says what is counted: of which events, which value, how they are put together, and where the figure ' +
          'goes. What it counts, and its event name, may change until it was used (`inUse`); then it is fixed, since a ' +
          'figure that was submitted must not change its meaning: make a new meter. Names and lateUsage may always change.',
        tags: ['meters'],
        security: needs('admin'),
        params: Path,
        querystring: DryRunQuery,
        body: MeterBody,
        response: { 200: MeterReply, default: problemResponse },
      },
    },
    (request) => put(deps, { key: request.params.key, change: request.body, dryRun: isDryRun(request.query) }),
  );
  app.get(
    '/v1/meters/:key',
    {
      schema: {
        operationId: 'getMeter',
        summary: 'One meter.',
        tags: ['meters'],
        security: needs('usage:read'),
        params: Path,
        response: { 200: MeterReply, default: problemResponse },
      },
    },
    (request) => show(deps, request.params.key),
  );
  app.get(
    '/v1/meters',
    {
      schema: {
        operationId: 'listMeters',
        summary: 'All meters, by key.',
        tags: ['meters'],
        security: needs('usage:read'),
        querystring: ListQuery,
        response: { 200: MeterList, default: problemResponse },
      },
    },
    (request) => list(deps, request.query),
  );
}

async function put(
  deps: MeterRoutesDeps,
  input: { key: string; change: MeterChange; dryRun: boolean },
): Promise<Static<typeof MeterReply>> {
  const { meter } = await deps.putMeter(input);
  // Warnings are of what is stored, which a dry run's meter is not.
  return input.dryRun ? toMeterReply(meter) : withWarnings(toMeterReply(meter), await deps.warnings());
}

async function show(deps: MeterRoutesDeps, key: string): Promise<Static<typeof MeterReply>> {
  const meter = await deps.findMeter(key);
  if (meter === null) throw notFound(key);
  return withWarnings(toMeterReply(meter), await deps.warnings());
}

/** Meters are few: all are read, and a page is cut from them. */
async function list(deps: MeterRoutesDeps, query: Static<typeof ListQuery>): Promise<Static<typeof MeterList>> {
  const after = query.cursor === undefined ? '' : decodeCursor(query.cursor, AfterId)[0];
  const found = (await deps.listMeters()).filter(({ _id }) => _id > after);
  const warnings = await deps.warnings();
  const item = (meter: MeterDefinition): Static<typeof MeterReply> => withWarnings(toMeterReply(meter), warnings);
  return toPage(found, readLimit(query.limit), { item, cursor: ({ _id }) => [_id] });
}

function withWarnings(
  meter: Static<typeof MeterReply>,
  warnings: ReadonlyMap<string, readonly MeterWarning[]>,
): Static<typeof MeterReply> {
  const ofMeter = warnings.get(meter.key);
  return ofMeter === undefined ? meter : { ...meter, warnings: [...ofMeter] };
}

function notFound(key: string): DaemonError {
  return new DaemonError({
    kind: 'not-found',
    code: 'meter_not_found',
    message: 'There is no meter with this key.',
    context: { meter: key },
  });
}

export function toMeterReply(meter: MeterDefinition): Static<typeof MeterReply> {
  const { uniqueBy, effectiveFrom, stripe, archivedFrom } = meter;
  return {
    key: meter._id,
    displayName: meter.displayName,
    unit: meter.unit,
    eventType: meter.eventType,
    aggregation: meter.aggregation,
    valueFrom: meter.valueFrom,
    ...(uniqueBy !== undefined && { uniqueBy }),
    where: meter.where.map(({ property, in: values }) => ({ property, in: values.map(toShown) })),
    groupBy: [...meter.groupBy],
    ...(effectiveFrom !== undefined && { effectiveFrom: effectiveFrom.toISOString() }),
    lateUsage: meter.lateUsage,
    ...(stripe !== undefined && { stripe: { eventName: stripe.eventName } }),
    ...(archivedFrom !== undefined && { archivedFrom: archivedFrom.toISOString() }),
    inUse: meter.usedAt !== undefined,
    createdAt: meter.createdAt.toISOString(),
    updatedAt: meter.updatedAt.toISOString(),
  };
}

/** A condition's number has at most 15 digits: as a JSON number it is the one that was put. */
function toShown(value: PropertyValue): string | number | boolean {
  return typeof value === 'object' ? Number(value.number) : value;
}

import { type Static, Type } from 'typebox';
import { countedValue } from '../usage/counted-value.ts';
import type { UsageExplanation } from './explain-usage.ts';
import type { Meter } from '../meters/meter.ts';
import { CancellationReply, OffsetBy } from '../submissions/resolving/cancellation-routes.ts';
import { pagingQuery, readLimit } from '../platform/http/cursor.ts';
import { type FactPosition, readFactCursor, writeFactCursor } from '../usage/customer-events-routes.ts';
import { FactEntry, type ShownFact, toFactEntry } from '../usage/fact-entry-routes.ts';
import { CustomerId, DecimalText, Instant, MeterKey } from '../platform/http/fields.ts';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';
import { UnbilledReply, toUnbilledParts } from '../customers/unbilled-reply-routes.ts';

/** An explanation whose facts can be shown. */
type Explanation = UsageExplanation<ShownFact>;

export interface ExplainRoutesDeps {
  explainUsage(input: {
    customerId: string;
    meter: string;
    from?: string;
    to?: string;
    period?: 'current' | 'previous';
    hour?: string;
    after?: FactPosition;
    limit: number;
  }): Promise<Explanation>;
}

const decimals = <T extends string>(names: readonly T[]) =>
  Type.Object(Object.fromEntries(names.map((name) => [name, DecimalText])) as Record<T, typeof DecimalText>);

const Raw = Type.Object({ quantity: DecimalText, eventCount: Type.Integer() });
const WindowReply = Type.Object({
  from: Instant,
  to: Instant,
  quantity: DecimalText,
  eventCount: Type.Integer(),
  raw: Raw,
  figure: Type.Optional(Type.String({ description: 'The running figure of its billing period after this window.' })),
  setsFigure: Type.Optional(Type.Boolean({ description: 'The window moved the running figure.' })),
});
const PeriodReply = Type.Object({
  from: Instant,
  to: Instant,
  quantity: DecimalText,
  eventCount: Type.Integer(),
  raw: Raw,
  setBy: Type.Optional(Type.Object({ from: Instant, to: Instant }, { description: 'The window that set the figure.' })),
});
const SubmissionReply = Type.Object({
  identifier: Type.String(),
  subject: Type.String(),
  subjectStart: Instant,
  sequence: Type.Integer(),
  timestamp: Instant,
  mode: Type.String(),
  value: DecimalText,
  toQuantity: DecimalText,
  state: Type.String({ description: 'What Stripe has said to it; see /v1/submissions.' }),
  reason: Type.Optional(Type.String()),
  message: Type.Optional(Type.String()),
  attempts: Type.Integer(),
  firstAttemptAt: Type.Optional(Instant),
  lastAttemptAt: Type.Optional(Instant),
  acceptedAt: Type.Optional(Instant),
  stripeCustomerId: Type.Optional(Type.String()),
  stripeMeterId: Type.Optional(Type.String()),
  replacedBy: Type.Optional(Type.String()),
  replaces: Type.Optional(Type.String()),
  cancellation: Type.Optional(CancellationReply),
  offsetBy: Type.Optional(OffsetBy),
});
const LateReply = Type.Object({
  id: Type.String(),
  subject: Type.String(),
  subjectStart: Instant,
  timestamp: Instant,
  quantity: DecimalText,
  reason: Type.String(),
  state: Type.String(),
});
const FactReply = Type.Object({
  ...FactEntry.properties,
  value: Type.Union([Type.String(), Type.Null()], {
    description: 'What the meter takes from it; null when it cannot count it.',
  }),
});
const BillingReply = Type.Object(
  {
    invoices: Type.Array(
      Type.Object({
        invoiceId: Type.String(),
        status: Type.String({ description: 'Of a draft the quantity is not final.' }),
        from: Instant,
        to: Instant,
        quantity: Type.Optional(DecimalText),
      }),
      { description: 'What invoices at Stripe bill of the meter in periods that touch the range, as last mirrored.' },
    ),
    unbilled: UnbilledReply.properties.parts,
    unbilledUnknown: Type.Optional(Type.String({ description: 'Why it is not known whether anything bills it.' })),
  },
  { description: 'What became of the usage at Stripe. Without an invoice here it is sent, and not billed yet.' },
);
const Reply = Type.Object({
  customerId: CustomerId,
  meter: MeterKey,
  unit: Type.String(),
  aggregation: Type.String(),
  from: Instant,
  to: Instant,
  asOf: Instant,
  billing: BillingReply,
  totals: decimals(['sent', 'submitted', 'windows', 'raw']),
  between: decimals([
    'inFlight',
    'blocked',
    'rejected',
    'notInvoiced',
    'carriedIn',
    'late',
    'notPlanned',
    'unexplained',
    'notDerived',
  ]),
  equal: Type.Boolean({ description: 'Every level comes to the same.' }),
  submissions: Type.Array(SubmissionReply),
  lateUsage: Type.Array(LateReply),
  periods: Type.Optional(Type.Array(PeriodReply, { description: 'Of a meter whose windows do not add up.' })),
  windows: Type.Array(WindowReply, { description: 'Those with usage, in time order.' }),
  facts: Type.Object(
    {
      from: Instant,
      to: Instant,
      quantity: DecimalText,
      eventCount: Type.Integer(),
      data: Type.Array(FactReply),
      nextCursor: Type.Union([Type.String(), Type.Null()]),
      hasMore: Type.Boolean(),
    },
    { description: 'A page of the raw facts of the range, or of `hour`; quantity and eventCount are those of all.' },
  ),
});

const Query = Type.Object(
  {
    meter: MeterKey,
    from: Type.Optional(Instant),
    to: Type.Optional(Instant),
    period: Type.Optional(Type.Unsafe<'current' | 'previous'>({ enum: ['current', 'previous'] })),
    hour: Type.Optional(
      Type.String({ description: 'Only raw facts of the hour that holds this instant; RFC 3339 with an offset.' }),
    ),
    ...pagingQuery,
  },
  { additionalProperties: false },
);

/** `GET /v1/customers/{customerId}/explain`: from a billed quantity down to the facts behind it. */
export function registerExplain(app: App, deps: ExplainRoutesDeps): void {
  app.get(
    '/v1/customers/:customerId/explain',
    {
      schema: {
        operationId: 'explainUsage',
        summary:
          'A billed quantity, the meter events that it is made of, their windows, and the raw facts behind them.',
        description:
          'The range (the current billing period without one) is widened to whole windows, and to whole billing ' +
          'periods for a meter whose windows do not add up. `totals` says what each level comes to; `between` what ' +
          'lies between two: sent + inFlight + blocked + rejected + notInvoiced = submitted; submitted − carriedIn ' +
          '+ late + notPlanned + unexplained = windows; windows + notDerived = raw.',
        tags: ['usage'],
        security: needs('usage:read'),
        params: Type.Object({ customerId: CustomerId }),
        querystring: Query,
        response: { 200: Reply, default: problemResponse },
      },
    },
    async (request) => {
      const { cursor, limit, ...query } = request.query;
      const explanation = await deps.explainUsage({
        customerId: request.params.customerId,
        ...query,
        limit: readLimit(limit),
        ...(cursor !== undefined && { after: readFactCursor(cursor) }),
      });
      return toReply(explanation);
    },
  );
}

function toReply({ meter, facts, periods, billing, ...rest }: Explanation): Static<typeof Reply> {
  const { page, next, ...told } = facts;
  return {
    ...rest,
    meter: meter.key,
    unit: meter.unit,
    aggregation: meter.aggregation,
    billing: {
      ...billing,
      invoices: [...billing.invoices],
      unbilled: toUnbilledParts(billing.unbilled),
    },
    submissions: [...rest.submissions],
    lateUsage: [...rest.lateUsage],
    windows: [...rest.windows],
    ...(periods && { periods: [...periods] }),
    facts: {
      ...told,
      data: page.map((fact) => ({ ...toFactEntry(fact), value: valueOf(meter, fact) })),
      nextCursor: next === undefined ? null : writeFactCursor(next),
      hasMore: next !== undefined,
    },
  };
}

function valueOf(meter: Meter, fact: ShownFact): string | null {
  return fact.kind === 'event' ? (countedValue(meter, fact.event) ?? null) : fact.adjustment.quantity;
}

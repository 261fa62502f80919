import { type Static, Type } from 'typebox';
import type { Customer, CustomerChange } from './customer.ts';
import { calendarInForce, type CalendarSource } from './calendar/customer-calendar.ts';
import { DaemonError } from '../platform/errors.ts';
import { problemResponse } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';
import { decodeCursor, pageSchema, pagingQuery, readLimit, toPage } from '../platform/http/cursor.ts';
import { DryRun, isDryRun, AfterId, CustomerId, Instant, NullableText } from '../platform/http/fields.ts';
import { type StoredUnbilled, toUnbilledReply, UnbilledReply } from './unbilled-reply-routes.ts';

export interface CustomerRoutesDeps {
  putCustomer(input: {
    customerId: string;
    change: CustomerChange;
    isUnchecked: boolean;
    dryRun: boolean;
  }): Promise<{ customer: Customer; isMappingUnverified?: true }>;
  findCustomer(customerId: string): Promise<Customer | null>;
  /** Usage of a customer that is at Stripe and that nothing bills, as of the last look. */
  unbilledOf(customerId: string): Promise<readonly StoredUnbilled[]>;
  /** In order of id, after an id. */
  listCustomers(query: { after?: string; unmapped?: boolean; limit: number }): Promise<readonly Customer[]>;
}

const BillingCalendarReply = Type.Object(
  {
    source: Type.Unsafe<CalendarSource>({
      enum: ['default', 'stated', 'subscription'],
      description: 'The subscriptions at Stripe, else billingAnchor and billingInterval, else the UTC calendar month.',
    }),
    anchor: Instant,
    interval: Type.String({ description: 'day, week, month or year' }),
    intervalCount: Type.Integer(),
  },
  { description: 'The billing periods in force: they begin at the anchor and every so many intervals from it.' },
);

const UNBILLED_REASON =
  "Why nothing is to bill this customer's usage (a free plan, an account of your own): it alarms nobody then.";

const CustomerReply = Type.Object({
  customerId: CustomerId,
  stripeCustomerId: Type.Optional(Type.String()),
  name: Type.Optional(Type.String()),
  email: Type.Optional(Type.String()),
  timeZone: Type.Optional(Type.String()),
  currency: Type.Optional(Type.String()),
  billingAnchor: Type.Optional(Instant),
  billingInterval: Type.Optional(Type.String()),
  submitFrom: Type.Optional(Instant),
  unbilledReason: Type.Optional(Type.String({ description: UNBILLED_REASON })),
  billingCalendar: BillingCalendarReply,
  createdAt: Instant,
  updatedAt: Instant,
});

const CustomerBody = Type.Object(
  {
    stripeCustomerId: Type.Optional(NullableText),
    name: Type.Optional(NullableText),
    email: Type.Optional(NullableText),
    timeZone: Type.Optional(NullableText),
    currency: Type.Optional(NullableText),
    billingAnchor: Type.Optional(NullableText),
    billingInterval: Type.Optional(Type.Unsafe<'month' | 'year' | null>({ enum: ['month', 'year', null] })),
    submitFrom: Type.Optional(NullableText),
    unbilledReason: Type.Optional(Type.Union([Type.String(), Type.Null()], { description: UNBILLED_REASON })),
  },
  { additionalProperties: false },
);

const PutReply = Type.Object({
  ...CustomerReply.properties,
  warnings: Type.Optional(
    Type.Array(Type.Object({ code: Type.String(), detail: Type.String() }), {
      description: '`stripe_customer_unverified`: Stripe did not say whether it has this customer.',
    }),
  ),
});
const PutQuery = Type.Object(
  {
    dryRun: Type.Optional(DryRun),
    unchecked: Type.Optional(
      Type.Unsafe<'' | 'true' | 'false'>({
        enum: ['', 'true', 'false'],
        description: 'Map to a Stripe customer without asking Stripe whether it is there.',
      }),
    ),
  },
  { additionalProperties: false },
);
/** One customer, with what nothing bills. */
const CustomerWithUnbilled = Type.Object({
  ...CustomerReply.properties,
  unbilled: Type.Optional(Type.Array(UnbilledReply)),
});

const Path = Type.Object({ customerId: CustomerId });
const CustomerList = pageSchema(CustomerReply);
const ListQuery = Type.Object(
  {
    unmapped: Type.Optional(
      Type.Unsafe<'true' | 'false'>({ enum: ['true', 'false'], description: 'Only those without a Stripe customer.' }),
    ),
    ...pagingQuery,
  },
  { additionalProperties: false },
);

/** `/v1/customers`: what the team tells us of its customers. */
export function registerCustomers(app: App, deps: CustomerRoutesDeps): void {
  app.put(
    '/v1/customers/:customerId',
    {
      schema: {
        operationId: 'putCustomer',
        summary: 'Create a customer, or change the given fields of one: absent fields stay, null clears.',
        tags: ['customers'],
        security: needs('admin'),
        params: Path,
        querystring: PutQuery,
        body: CustomerBody,
        response: { 200: PutReply, default: problemResponse },
      },
    },
    (request) => {
      const { unchecked, ...query } = request.query;
      const isUnchecked = unchecked !== undefined && unchecked !== 'false';
      const { customerId } = request.params;
      return put(deps, { customerId, change: request.body, isUnchecked, dryRun: isDryRun(query) });
    },
  );
  app.get(
    '/v1/customers/:customerId',
    {
      schema: {
        operationId: 'getCustomer',
        summary: 'One customer.',
        tags: ['customers'],
        security: needs('usage:read'),
        params: Path,
        response: { 200: CustomerWithUnbilled, default: problemResponse },
      },
    },
    (request) => show(deps, request.params.customerId),
  );
  app.get(
    '/v1/customers',
    {
      schema: {
        operationId: 'listCustomers',
        summary: 'The customers we were told about, in order of id.',
        tags: ['customers'],
        security: needs('usage:read'),
        querystring: ListQuery,
        response: { 200: CustomerList, default: problemResponse },
      },
    },
    (request) => list(deps, request.query),
  );
}

async function put(
  deps: CustomerRoutesDeps,
  input: { customerId: string; change: CustomerChange; isUnchecked: boolean; dryRun: boolean },
): Promise<Static<typeof PutReply>> {
  const { customer, isMappingUnverified } = await deps.putCustomer(input);
  return { ...toReply(customer), ...(isMappingUnverified && { warnings: [UNVERIFIED] }) };
}

const UNVERIFIED = {
  code: 'stripe_customer_unverified',
  detail:
    'Stripe could not be asked whether it has this customer. If it has not, reconciliation says customer_not_found.',
};

async function show(deps: CustomerRoutesDeps, customerId: string): Promise<Static<typeof CustomerWithUnbilled>> {
  const customer = await deps.findCustomer(customerId);
  if (customer === null) throw notFound(customerId);
  const unbilled = await deps.unbilledOf(customerId);
  return { ...toReply(customer), ...(unbilled.length > 0 && { unbilled: unbilled.map(toUnbilledReply) }) };
}

async function list(deps: CustomerRoutesDeps, query: Static<typeof ListQuery>): Promise<Static<typeof CustomerList>> {
  const limit = readLimit(query.limit);
  const found = await deps.listCustomers({
    limit: limit + 1,
    ...(query.cursor !== undefined && { after: decodeCursor(query.cursor, AfterId)[0] }),
    ...(query.unmapped === 'true' && { unmapped: true }),
  });
  return toPage(found, limit, { item: toReply, cursor: ({ _id }) => [_id] });
}

function notFound(customerId: string): DaemonError {
  return new DaemonError({
    kind: 'not-found',
    code: 'customer_not_found',
    message: 'Nobody told us about this customer. (It may have usage all the same.)',
    context: { customerId },
  });
}

function toReply(customer: Customer): Static<typeof CustomerReply> {
  const { stripeCustomerId, name, email, timeZone, currency, billingAnchor, billingInterval, submitFrom } = customer;
  const { unbilledReason } = customer;
  const { source, calendar } = calendarInForce(customer.calendars);
  return {
    customerId: customer._id,
    ...(stripeCustomerId !== undefined && { stripeCustomerId }),
    ...(name !== undefined && { name }),
    ...(email !== undefined && { email }),
    ...(timeZone !== undefined && { timeZone }),
    ...(currency !== undefined && { currency }),
    ...(billingAnchor !== undefined && { billingAnchor: billingAnchor.toISOString() }),
    ...(billingInterval !== undefined && { billingInterval }),
    ...(submitFrom !== undefined && { submitFrom: submitFrom.toISOString() }),
    ...(unbilledReason !== undefined && { unbilledReason }),
    billingCalendar: {
      source,
      anchor: new Date(calendar.anchorMs).toISOString(),
      interval: calendar.interval,
      intervalCount: calendar.count ?? 1,
    },
    createdAt: customer.createdAt.toISOString(),
    updatedAt: customer.updatedAt.toISOString(),
  };
}

import { createHash } from 'node:crypto';
import type { Stripe } from 'stripe';
import { answer, invalidRequest } from './answer.ts';
import type { Answer } from './answer.ts';
import type { Customers } from './customers.ts';
import { zero } from './decimal.ts';
import type { Meters } from './meters.ts';
import { paginate } from './pagination.ts';
import { pageFields } from './parameters.ts';
import type { Parameters } from './parameters.ts';
import type { Account, Call, Route } from './route.ts';
import type { Usage, UsagePair } from './usage.ts';
import type { UsageRange } from './usage-series.ts';

type Summary = Stripe.Billing.MeterEventSummary;

/** Ranges begin and end on these steps of UTC, whatever the customer's time zone (Stripe API, Event summaries). */
const stepSeconds = { minute: 60, hour: 3_600, day: 86_400 };

interface SummariesDeps {
  account: Account;
  meters: Meters;
  customers: Customers;
  usage: Usage;
}

/** `GET /v1/billing/meters/{id}/event_summaries`: an eventually consistent view, newest first, without empty rows. */
export function eventSummaryRoutes(deps: SummariesDeps): Route[] {
  return [
    {
      name: 'GET /v1/billing/meters/{id}/event_summaries',
      parameters: {
        customer: { kind: 'text', required: true },
        start_time: { kind: 'integer', required: true },
        end_time: { kind: 'integer', required: true },
        value_grouping_window: { kind: 'choice', of: ['hour', 'day'] },
        ...pageFields,
      },
      run: (call) => listSummaries(deps, call),
    },
  ];
}

function listSummaries({ account, meters, customers, usage }: SummariesDeps, { pathId, parameters }: Call): Answer {
  const meter = meters.retrieve(pathId);
  const customer = parameters.requiredText('customer');
  if (!customers.isKnown(customer)) {
    throw invalidRequest(`No such customer: '${customer}'`, { code: 'resource_missing', param: 'customer' });
  }
  const window = parameters.text('value_grouping_window');
  const range = readRange(parameters);
  if ((range.to - range.from) * 1000 > account.switches.summaryRangeMaxMs) {
    throw invalidRequest('The time range is too long.', { param: 'end_time' });
  }
  const pair = usage.pair(customer, meter);
  const rows: Summary[] = [];
  for (const part of partsOf(range, window, pair)) {
    const value = pair && usage.aggregate(pair, endOf(part, account), { kind: 'visible', atMs: account.clock.now() });
    if (value === undefined && (window !== undefined || account.switches.emptySummary === 'none')) continue;
    rows.push(toSummary(meter.id, customer, { ...part, value: (value ?? zero).toNumber() }));
  }
  return answer(paginate(rows, parameters, `/v1/billing/meters/${meter.id}/event_summaries`));
}

function readRange(parameters: Parameters): UsageRange {
  const window = parameters.text('value_grouping_window');
  const unit = window === 'hour' || window === 'day' ? window : 'minute';
  const from = parameters.requiredInteger('start_time');
  const to = parameters.requiredInteger('end_time');
  for (const [param, instant] of [
    ['start_time', from],
    ['end_time', to],
  ] as const) {
    if (instant % stepSeconds[unit] === 0) continue;
    throw invalidRequest(`${param} must be aligned with ${unit} boundaries in UTC. Received ${instant}.`, { param });
  }
  if (from >= to) throw invalidRequest('end_time must be after start_time.', { param: 'end_time' });
  return { from, to };
}

/** The rows to make, newest first: one, or those of the grouping window in which there is any usage to look at. */
function* partsOf(range: UsageRange, window: string | undefined, pair: UsagePair | undefined): Generator<UsageRange> {
  if (window === undefined) {
    yield range;
    return;
  }
  const step = window === 'day' ? stepSeconds.day : stepSeconds.hour;
  const span = pair?.usage.span();
  if (span === undefined) return;
  const first = Math.max(range.from, Math.floor(span.from / step) * step);
  const last = Math.min(range.to, Math.ceil(span.to / step) * step) - step;
  for (let from = last; from >= first; from -= step) yield { from, to: from + step };
}

function endOf(range: UsageRange, account: Account): UsageRange {
  return account.switches.summaryEnd === 'inclusive' ? { ...range, to: range.to + 1 } : range;
}

/** A double gives back every decimal of at most 15 digits exactly, so the number in the JSON is the exact one. */
function toSummary(meter: string, customer: string, row: UsageRange & { value: number }): Summary {
  const identity = createHash('sha256').update(`${meter} ${customer} ${row.from} ${row.to}`).digest('hex');
  return {
    id: `mtrusg_test_${identity.slice(0, 24)}`,
    object: 'billing.meter_event_summary',
    aggregated_value: row.value,
    end_time: row.to,
    livemode: false,
    meter,
    start_time: row.from,
  };
}

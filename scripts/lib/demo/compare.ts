import { equalQuantities } from '../../../src/platform/quantity.ts';
import type { ApiClient } from '../api-client.ts';
import { type Column, renderTable } from '../table.ts';
import type { Flights } from './flights.ts';
import { DEMO_METERS } from './meters.ts';

/** A customer's usage as `GET /v1/customers/{customerId}/usage` tells it. */
interface UsageReply {
  readonly meters: readonly {
    readonly meter: string;
    readonly quantity: string;
    readonly windows: readonly { readonly from: string; readonly quantity: string }[];
  }[];
}

/** One comparison of `GET /v1/reconciliations/{id}`. */
interface Comparison {
  readonly customerId: string;
  readonly meter: string;
  readonly verdict: string;
  readonly stripe?: string;
}

/** One line of the demo's table: three figures that have to be one. */
export interface ComparedFigure {
  readonly customerId: string;
  readonly meter: string;
  readonly ours: string | undefined;
  readonly stripe: string | undefined;
  readonly expected: string;
  readonly verdict: string;
  readonly isEqual: boolean;
}

export interface ComparedHours {
  readonly hours: number;
  readonly differing: readonly string[];
}

const COLUMNS: readonly Column[] = [
  { heading: 'airline' },
  { heading: 'meter' },
  { heading: 'ours', align: 'right' },
  { heading: "Stripe's", align: 'right' },
  { heading: 'expected', align: 'right' },
  { heading: 'verdict' },
  { heading: '' },
];

/** Lays three figures side by side, for each airline and meter. */
export async function compareTotals(
  api: ApiClient,
  flights: Flights,
  reconciliation: string,
): Promise<ComparedFigure[]> {
  const comparisons = new Map<string, Comparison>();
  for (const row of await readComparisons(api, reconciliation)) comparisons.set(`${row.customerId}/${row.meter}`, row);
  const figures: ComparedFigure[] = [];
  for (const [customerId, totals] of flights.customers) {
    const usage = await readUsage(api, customerId, { from: flights.firstDay, to: flights.endDay });
    for (const { key: meter, expected: field } of DEMO_METERS) {
      const ours = usage.meters.find((entry) => entry.meter === meter)?.quantity;
      const comparison = comparisons.get(`${customerId}/${meter}`);
      const expected = String(totals[field]);
      const { stripe } = comparison ?? {};
      const verdict = comparison?.verdict ?? 'not compared';
      const isEqual = [ours, stripe].every((figure) => figure !== undefined && equalQuantities(figure, expected));
      figures.push({ customerId, meter, ours, stripe, expected, verdict, isEqual: isEqual && verdict === 'match' });
    }
  }
  return figures;
}

/** Compares flights and air minutes of each customer-hour with the known truth, through the usage API. */
export async function compareHours(api: ApiClient, flights: Flights): Promise<ComparedHours> {
  const expected = await flights.expectedHours();
  const ours = new Map<string, string>();
  for (const customerId of flights.customers.keys()) {
    for (const meter of ['flights', 'air_minutes']) {
      const range = { from: flights.firstDay, to: flights.endDay, window: 'hour', meter };
      const usage = await readUsage(api, customerId, range);
      for (const { from, quantity } of usage.meters[0]?.windows ?? [])
        ours.set(`${customerId} ${from} ${meter}`, quantity);
    }
  }
  const truth = new Map(
    expected.flatMap(({ customerId, hour, flights: count, airMinutes }): [string, string][] => [
      [`${customerId} ${hour} flights`, count],
      [`${customerId} ${hour} air_minutes`, airMinutes],
    ]),
  );
  const keys = new Set([...truth.keys(), ...ours.keys()]);
  const differing = [...keys].filter((key) => !equalQuantities(ours.get(key) ?? '0', truth.get(key) ?? '0'));
  return { hours: expected.length, differing };
}

/** The table; the airline stands on its first line only. */
export function renderFigures(figures: readonly ComparedFigure[]): string {
  const rows = figures.map((figure, index) => [
    figures[index - 1]?.customerId === figure.customerId ? '' : figure.customerId,
    figure.meter,
    figure.ours,
    figure.stripe,
    figure.expected,
    figure.verdict,
    figure.isEqual ? '' : '<- differs',
  ]);
  return renderTable(COLUMNS, rows);
}

function readUsage(api: ApiClient, customerId: string, query: Record<string, string>): Promise<UsageReply> {
  return api.get<UsageReply>(`/v1/customers/${encodeURIComponent(customerId)}/usage`, query);
}

/** Every comparison of a run, page by page. */
async function readComparisons(api: ApiClient, id: string): Promise<Comparison[]> {
  const rows: Comparison[] = [];
  let cursor: string | undefined;
  do {
    const { comparisons } = await api.get<{
      comparisons: { data: Comparison[]; nextCursor: string | null; hasMore: boolean };
    }>(`/v1/reconciliations/${encodeURIComponent(id)}`, { cursor });
    rows.push(...comparisons.data);
    cursor = comparisons.hasMore ? (comparisons.nextCursor ?? undefined) : undefined;
  } while (cursor !== undefined);
  return rows;
}

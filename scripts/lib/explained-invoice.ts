import type { ApiClient } from './api-client.ts';
import { type ExplainedFact, type Explanation, renderExplanation, type ShownParts } from './explanation.ts';
import { shortInstant } from './fitted-table.ts';

/** The answer of `GET /v1/invoices/{invoiceId}/usage`. */
interface InvoiceUsage {
  readonly invoiceId: string;
  readonly status: string;
  readonly stripeCustomerId: string;
  readonly usage: readonly {
    readonly stripeMeterId: string;
    readonly from: string;
    readonly to: string;
    readonly quantity?: string;
    readonly customerId?: string;
    readonly meter?: string;
  }[];
}

/** An invoice with the explanation of each meter and period that it bills. */
export interface ExplainedInvoice extends InvoiceUsage {
  readonly explanations: readonly Explanation[];
}

/** What is fetched of raw facts. */
interface FactsWanted {
  readonly csv?: boolean;
  readonly limit: number;
}

interface ExplanationQuery extends FactsWanted {
  readonly customer: string;
  readonly meter: string;
  readonly from?: string;
  readonly to?: string;
  readonly period?: string;
  readonly hour?: string;
}

const FACTS_PER_PAGE = 1_000;

/** With an hour, or as CSV, the pages of facts are put together, up to the limit. */
export async function fetchExplanation(api: ApiClient, query: ExplanationQuery): Promise<Explanation> {
  const { meter, period, hour, limit } = query;
  const path = `/v1/customers/${encodeURIComponent(query.customer)}/explain`;
  const asked = { meter, from: toInstant(query.from), to: toInstant(query.to), period, hour };
  const first = await api.get<Explanation>(path, { ...asked, limit: Math.min(limit, FACTS_PER_PAGE) });
  const data: ExplainedFact[] = [...first.facts.data];
  let { nextCursor } = first.facts;
  const wanted = hour !== undefined || query.csv === true ? limit : 0;
  while (nextCursor !== null && data.length < wanted) {
    // The range that was explained, and not the one asked for: a billing period can end between two pages.
    const next = { meter, from: first.from, to: first.to, hour, cursor: nextCursor };
    const page = await api.get<Explanation>(path, { ...next, limit: Math.min(limit - data.length, FACTS_PER_PAGE) });
    data.push(...page.facts.data);
    nextCursor = page.facts.nextCursor;
  }
  return { ...first, facts: { ...first.facts, data, nextCursor, hasMore: nextCursor !== null } };
}

/** A day stands for its first instant in UTC. */
function toInstant(text: string | undefined): string | undefined {
  return text !== undefined && /^\d{4}-\d{2}-\d{2}$/.test(text) ? `${text}T00:00:00Z` : text;
}

/** Each meter and period of the invoice, one after the other. */
export async function fetchInvoice(api: ApiClient, invoiceId: string, wanted: FactsWanted): Promise<ExplainedInvoice> {
  const invoice = await api.get<InvoiceUsage>(`/v1/invoices/${encodeURIComponent(invoiceId)}/usage`);
  const explanations: Explanation[] = [];
  for (const { customerId: customer, meter, from, to } of invoice.usage) {
    if (customer === undefined || meter === undefined) continue;
    explanations.push(await fetchExplanation(api, { ...wanted, customer, meter, from, to }));
  }
  return { ...invoice, explanations };
}

/** The invoice, what it bills that was not sent from here, and its explanations. */
export function renderInvoice(of: ExplainedInvoice, show: ShownParts): string {
  const foreign = of.usage.flatMap(({ meter, stripeMeterId, from, to, quantity = '?' }) =>
    meter === undefined
      ? [
          `${quantity} of ${stripeMeterId} from ${shortInstant(from)} to ${shortInstant(to)}: nothing was sent from here`,
        ]
      : [],
  );
  const head = `invoice ${of.invoiceId} (${of.status}) of ${of.stripeCustomerId}`;
  const none = of.usage.length === 0 ? ['it bills no usage'] : [];
  return [
    [head, ...none, ...foreign].join('\n'),
    ...of.explanations.map((explanation) => renderExplanation(explanation, show)),
  ].join('\n\n');
}

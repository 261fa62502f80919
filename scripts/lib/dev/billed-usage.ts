import { compareQuantities } from '../../../src/platform/quantity.ts';
import type { ApiClient } from '../api-client.ts';
import { type BilledLine, listBilledLines } from './stripe-objects.ts';

/** A usage line of a final invoice, beside what the ledger says was used. */
export interface BilledUsage {
  readonly invoice: string;
  readonly status: string;
  readonly customerId: string;
  readonly meter: string;
  readonly from: string;
  readonly to: string;
  readonly billed: string;
  readonly used: string;
  readonly isEqual: boolean;
  readonly amount: string;
}

interface Usage {
  readonly meters: readonly { readonly meter: string; readonly quantity: string }[];
}

/** Digits behind the point of an amount in the currencies that the double knows. */
const MINOR_DIGITS = 2;

/** The usage lines of the invoices that ended a period since an instant. Lines of nobody and nothing of ours are left out. */
export async function readBilledUsage(api: ApiClient, simulatorUrl: string, sinceMs: number): Promise<BilledUsage[]> {
  const customers = new Map<string, string>();
  for await (const { customerId, stripeCustomerId } of api.list<Record<string, string>>('/v1/customers')) {
    if (customerId !== undefined && stripeCustomerId !== undefined) customers.set(stripeCustomerId, customerId);
  }
  const meters = new Map<string, string>();
  for await (const { key, stripe } of api.list<{ key: string; stripe?: { eventName: string } }>('/v1/meters')) {
    if (stripe !== undefined) meters.set(stripe.eventName, key);
  }
  const billed: BilledUsage[] = [];
  for (const line of await listBilledLines(simulatorUrl, sinceMs)) {
    const meter = meters.get(line.eventName);
    if (meter === undefined) continue;
    billed.push(
      await compare(api, line, { meter, customerId: customers.get(line.stripeCustomerId) ?? line.stripeCustomerId }),
    );
  }
  return billed;
}

async function compare(
  api: ApiClient,
  line: BilledLine,
  { meter, customerId }: { meter: string; customerId: string },
): Promise<BilledUsage> {
  const [from, to] = [new Date(line.fromMs).toISOString(), new Date(line.toMs).toISOString()];
  const usage = await api.get<Usage>(`/v1/customers/${encodeURIComponent(customerId)}/usage`, { from, to, meter });
  const used = usage.meters.find((figure) => figure.meter === meter)?.quantity ?? '0';
  return {
    invoice: line.invoice,
    status: line.status,
    customerId,
    meter,
    from,
    to,
    billed: line.quantity,
    used,
    isEqual: compareQuantities(line.quantity, used) === 0,
    amount: `${(line.amountMinor / 10 ** MINOR_DIGITS).toFixed(MINOR_DIGITS)} ${line.currency.toUpperCase()}`,
  };
}

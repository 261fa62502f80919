/** Final invoices, corrections and the balance of what is owed, in a few words. */
import { recordAdjustment } from '../../src/usage/record-adjustment.ts';
import { type LateUsageDocument } from '../../src/submissions/late-usage-store.ts';
import { addQuantities, canonicalQuantity, type Quantity } from '../../src/platform/quantity.ts';
import { DELIVERED_STATES, type SubmissionState } from '../../src/submissions/submission.ts';
import { recordingDeps } from '../../src/daemon/serve-facts.ts';
import type { Pipeline } from './pipeline.ts';
import { ms } from './usage.ts';

let invoiceCount = 0;
let adjustmentCount = 0;

/** Mirrors an invoice over a period of some meters, final since an instant. */
export async function closePeriod(
  { stores, parts }: Pipeline,
  closed: { customer: string; from: string; to: string; finalizedAt: string; eventNames?: readonly string[] },
): Promise<string> {
  const meters = (await parts.stripe?.listMeters()) ?? [];
  const eventNames = closed.eventNames ?? meters.map(({ eventName }) => eventName);
  invoiceCount += 1;
  const _id = `in_${invoiceCount}`;
  await stores.invoices.save(
    {
      _id,
      stripeCustomerId: closed.customer,
      status: 'open',
      billingReason: 'subscription_cycle',
      autoAdvance: true,
      createdAt: new Date(closed.to),
      finalizedAt: new Date(closed.finalizedAt),
      lines: meters
        .filter(({ eventName }) => eventNames.includes(eventName))
        .map(({ id }) => ({
          id: `il_${id}`,
          stripeMeterId: id,
          from: new Date(closed.from),
          to: new Date(closed.to),
        })),
    },
    undefined,
  );
  return _id;
}

/** Adds usage to a meter of `acme`, or takes it away. */
export async function adjust({ stores, clock }: Pipeline, at: string, quantity: string): Promise<void> {
  adjustmentCount += 1;
  const adjustment = {
    idempotencyKey: `adjustment-${adjustmentCount}`,
    customerId: 'acme',
    meter: 'calls',
    occurredAt: at,
    quantity,
    reason: 'test',
    actor: 'test',
  };
  await recordAdjustment(recordingDeps(stores, clock), {
    adjustment,
    ageMsMax: Number.MAX_SAFE_INTEGER,
    isNewCustomer: true,
  });
}

/** What is listed, by the stamp of the usage. */
export async function listLate({ stores }: Pipeline): Promise<LateUsageDocument[]> {
  const found = await stores.lateUsage.list({ limit: 1_000 });
  return found.sort((a, b) => a.timestamp.getTime() - b.timestamp.getTime() || a.sequence - b.sequence);
}

/** Aggregates next to what was delivered and what is late, of one meter of `acme`; the second is to equal the first. */
export async function balance({ stores }: Pipeline, meter = 'calls'): Promise<[aggregates: Quantity, owed: Quantity]> {
  const scope = { customerId: 'acme', meter };
  const range = { ...scope, from: new Date(0), to: new Date(8.64e15) };
  const aggregates = canonicalQuantity((await stores.usageAggregates.sums(range)).quantity.toString());
  const submissions = await stores.submissions.list({ ...scope, limit: 1_000 });
  const delivered = submissions
    .filter(({ state, subject }) => isDelivered(state) && subject !== 'late')
    .map(({ value }) => canonicalQuantity(value.toString()));
  const late = await stores.lateUsage.sumOf({ ...scope, fromMs: 0, toMs: ms('2100-01-01T00:00:00Z') });
  return [aggregates, addQuantities('0', late, ...delivered)];
}

function isDelivered(state: SubmissionState): boolean {
  return DELIVERED_STATES.includes(state);
}

import type { Invoice } from './invoice.ts';
import type { Subscription } from './subscription.ts';
import { boundary } from '../platform/boundary.ts';
import type { Refusals } from '../stripe/stripe-refusal.ts';
import { DAY_MS } from '../platform/durations.ts';
import { mirrorInvoice, type MirrorInvoiceDeps } from './mirror-invoice.ts';
import { mirrorSubscription, type MirrorSubscriptionDeps } from './mirror-subscription.ts';

export interface MirrorAccountDeps extends Omit<MirrorSubscriptionDeps, 'invoices'>, MirrorInvoiceDeps {
  readonly invoices: MirrorSubscriptionDeps['invoices'] & MirrorInvoiceDeps['invoices'];
  /** Every subscription of the account; `onRefused` is told of those that Stripe refuses to tell all of. */
  listSubscriptions(onRefused: (id: string, error: unknown) => void): AsyncIterable<Subscription>;
  /** Invoices created since an instant, and open ones of any age. */
  listInvoices(sinceMs: number, onRefused: (id: string, error: unknown) => void): AsyncIterable<Invoice>;
}

/** What could not be mirrored. */
export interface UnmirroredObject {
  readonly kind: 'subscription' | 'invoice';
  readonly id: string;
}

export interface MirrorAccountResult {
  readonly subscriptions: number;
  readonly invoices: number;
  /** What Stripe refused: everything else was mirrored. */
  readonly unmirrored: readonly UnmirroredObject[];
}

/** What ended longer ago touches no usage that Stripe would still take (35 days), grace and all. */
const ENDED_DAYS_MAX = 60;
/** Invoices of two months: those that closed a period for which usage can still be sent. */
const INVOICE_DAYS_MAX = 62;
const BATCH = 50;

/**
 * Mirrors the whole account: what no list of events tells any more. What is not in the mirror is stored as it was
 * listed, unless somebody fetched it meanwhile; what is there and differs is fetched anew, behind the fence.
 */
export async function mirrorAccount(
  deps: MirrorAccountDeps,
  input: { refusals: Refusals; signal?: AbortSignal },
): Promise<MirrorAccountResult> {
  const { signal, refusals } = input;
  const nowMs = deps.clock.now();
  const unmirrored: UnmirroredObject[] = [];
  const refuse =
    (kind: UnmirroredObject['kind']) =>
    (id: string, error: unknown): void => {
      refusals.note(`${kind} ${id}`, error);
      unmirrored.push({ kind, id });
    };
  const isRelevant = ({ endedAt }: Subscription): boolean =>
    endedAt === undefined || endedAt.getTime() > nowMs - ENDED_DAYS_MAX * DAY_MS;
  // Calendars follow subscriptions, and what invoices tell of them has to be there.
  const onInvoice = refuse('invoice');
  const listed = deps.listInvoices(nowMs - INVOICE_DAYS_MAX * DAY_MS, onInvoice);
  const invoices = await inBatches(listed, { signal, onRefused: onInvoice }, async (invoice) => {
    const before = await deps.invoices.find(invoice._id);
    const isNew = before === null && (await deps.invoices.save(invoice, undefined));
    await boundary('mirror.invoice-listed');
    if (!isNew) await mirrorInvoice(deps, invoice._id);
  });
  const onSubscription = refuse('subscription');
  const all = deps.listSubscriptions(onSubscription);
  const subscriptions = await inBatches(all, { signal, onRefused: onSubscription }, async (subscription) => {
    if (!isRelevant(subscription)) return;
    const before = await deps.subscriptions.find(subscription._id);
    const isNew = before === null && (await deps.subscriptions.save(subscription, undefined));
    await boundary('mirror.subscription-listed');
    if (!isNew) await mirrorSubscription(deps, subscription._id);
  });
  return { subscriptions, invoices, unmirrored };
}

/** Calls `each` for every item, some at a time; goes on past what is refused; leaves the rest when asked to stop. */
async function inBatches<T extends { readonly _id: string }>(
  source: AsyncIterable<T>,
  context: { signal: AbortSignal | undefined; onRefused: (id: string, error: unknown) => void },
  each: (item: T) => Promise<void>,
): Promise<number> {
  const take = (item: T): Promise<void> => each(item).catch((error: unknown) => context.onRefused(item._id, error));
  let batch: T[] = [];
  let count = 0;
  for await (const item of source) {
    batch.push(item);
    count += 1;
    if (batch.length < BATCH) continue;
    await Promise.all(batch.map(take));
    batch = [];
    if (context.signal?.aborted === true) return count;
  }
  await Promise.all(batch.map(take));
  return count;
}

import { boundary } from '../../platform/boundary.ts';
import { mendableCauseOf, nextLookAtMs, REPLACEMENTS_MAX } from './mending.ts';
import type { EntryMove, OutboxEntry } from '../outbox-entry.ts';
import { type RefusedItems, Refusals } from '../../stripe/stripe-refusal.ts';
import { replacementNumber, type SubmissionState } from '../submission.ts';
import { Destinations, type DestinationsDeps, type Target } from '../sending/resolve-destinations.ts';

export interface MendRejectionsDeps extends DestinationsDeps {
  /** Those whose cause is to be looked at, longest due first. */
  listRejectedDue(now: Date, limit: number): Promise<OutboxEntry[]>;
  readonly entries: { move(move: EntryMove): Promise<OutboxEntry | undefined> };
  replace(
    identifier: string,
    decided: { reason: string; at: Date; from: readonly SubmissionState[]; actor?: string },
  ): Promise<boolean>;
  /** Whether Stripe has a customer of this id. */
  customerExists(stripeCustomerId: string): Promise<boolean>;
}

export interface MendRejectionsResult {
  /** Submissions that are sent again under a new identifier. */
  readonly mended: number;
  /** Submissions whose cause is still there. */
  readonly rejected: number;
  /** Customers that Stripe refuses to tell of; absent where there are none. */
  readonly refused?: RefusedItems;
}

/** Submissions looked at in one run, and customers asked for at Stripe. */
const REJECTED_MAX = 5_000;
const CUSTOMERS_ASKED_MAX = 100;

/**
 * Looks at rejected submissions whose cause can be mended: the customer is mapped to another or exists now, the meter is
 * there and active, the time has come. Those get a successor under a new identifier; the others are looked at again
 * later, and less and less often.
 */
export async function mendRejections(
  deps: MendRejectionsDeps,
  input: { signal?: AbortSignal } = {},
): Promise<MendRejectionsResult> {
  const result = { mended: 0, rejected: 0 };
  const due = await deps.listRejectedDue(new Date(deps.clock.now()), REJECTED_MAX);
  if (due.length === 0) return result;
  const destinations = new Destinations(deps);
  await destinations.refresh();
  const targets = await destinations.resolve(due.map(toUnsent));
  const customers = new KnownCustomers(deps);
  for (const entry of due) {
    if (input.signal?.aborted === true) break;
    const target = targets.get(entry.identifier);
    const isMended = await isCauseMended(entry, { target, customers, nowMs: deps.clock.now() });
    if (isMended === undefined) continue;
    if (isMended && (await replace(deps, entry))) result.mended += 1;
    else result.rejected += await keepRejected(deps, entry);
  }
  return { ...result, ...customers.refusals.result() };
}

/** Nothing of it was counted, so its destination is looked up as if it had never been sent. */
function toUnsent(entry: OutboxEntry): OutboxEntry {
  const { firstAttemptAtMs: _, ...unsent } = entry;
  return unsent;
}

/** Undefined where this run may not ask Stripe any more. */
async function isCauseMended(
  entry: OutboxEntry,
  context: { target: Target | undefined; customers: KnownCustomers; nowMs: number },
): Promise<boolean | undefined> {
  const { target, customers, nowMs } = context;
  if (target === undefined || 'blocked' in target) return false;
  if (replacementNumber(entry.identifier) >= REPLACEMENTS_MAX) return false;
  const { stripeCustomerId } = target.destination;
  switch (mendableCauseOf(entry.reason)) {
    case 'customer':
      return stripeCustomerId !== entry.stripeCustomerId || customers.exists(stripeCustomerId);
    case 'meter':
      // It resolves, so it is there and active.
      return true;
    case 'time':
      return nowMs >= entry.timestampMs;
    case undefined:
      return false;
  }
}

/** Asks Stripe once for each customer, and not for too many. */
class KnownCustomers {
  readonly #deps: MendRejectionsDeps;
  readonly #known = new Map<string, boolean>();
  readonly refusals = new Refusals();

  constructor(deps: MendRejectionsDeps) {
    this.#deps = deps;
  }

  /** Undefined for one customer too many. */
  async exists(id: string): Promise<boolean | undefined> {
    const known = this.#known.get(id);
    if (known !== undefined || this.#known.size >= CUSTOMERS_ASKED_MAX) return known;
    const exists = await this.#deps.customerExists(id).catch((error: unknown) => {
      // Stripe refuses to tell of this one: its submissions stay rejected, and the others are looked at.
      this.refusals.note(`customer ${id}`, error);
      return false;
    });
    this.#known.set(id, exists);
    return exists;
  }
}

async function replace(deps: MendRejectionsDeps, entry: OutboxEntry): Promise<boolean> {
  const at = new Date(deps.clock.now());
  const isReplaced = await deps.replace(entry.identifier, { reason: 'cause_mended', at, from: ['rejected'] });
  await boundary('resolve.rejection-replaced');
  return isReplaced;
}

async function keepRejected(deps: MendRejectionsDeps, entry: OutboxEntry): Promise<number> {
  const atMs = deps.clock.now();
  const dueAtMs = nextLookAtMs(atMs - (entry.lastAttemptAtMs ?? atMs), atMs);
  await deps.entries.move({ entry, change: 'keep-rejected', atMs, dueAtMs });
  return 1;
}

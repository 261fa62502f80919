import { boundary } from '../platform/boundary.ts';
import { advanceKey, type AdvanceOutcome, settleCall } from './guard-call.ts';
import type { GuardRecord } from './guard-record.ts';
import type { Invoice } from '../mirror/invoice.ts';
import { decideGuard, type GuardDecision, type GuardedInvoice, type InvoiceGuard, isBilled } from './invoice-guard.ts';
import type { Meter } from '../meters/meter.ts';
import { type RefusedItems, refusalOf, Refusals } from '../stripe/stripe-refusal.ts';
import { DAY_MS } from '../platform/durations.ts';
import { failureOf, isPassing } from '../platform/errors.ts';
import {
  type Catalogue,
  catalogueOf,
  type Look,
  lookAtInvoice,
  type LookAtInvoiceDeps,
  type WantedJob,
} from './look-at-invoice.ts';
import type { DestinationMeter } from '../meters/stripe-meter.ts';

export interface GuardInvoicesDeps extends Omit<LookAtInvoiceDeps, 'log'> {
  readonly guards: {
    due(at: Date, limit: number): Promise<GuardRecord[]>;
    unguarded(invoiceIds: readonly string[]): Promise<Set<string>>;
    wake(invoice: { _id: string; stripeCustomerId: string }, at: Date): Promise<void>;
    save(next: GuardRecord, previous: GuardRecord, at: Date): Promise<boolean>;
    /** Puts a look off, and keeps why. */
    postpone(record: GuardRecord, checkAt: Date, error: { code: string; message: string }): Promise<void>;
  };
  readonly invoices: {
    find(id: string): Promise<Invoice | null>;
    drafts(after: string, limit: number): Promise<Invoice[]>;
  };
  /** Fetches an invoice, and has the mirror hold what was fetched; undefined when Stripe has none. */
  refresh(invoiceId: string): Promise<Invoice | undefined>;
  /** Holds an invoice, or lets it go. */
  setAutoAdvance(call: { invoiceId: string; autoAdvance: boolean; idempotencyKey: string }): Promise<AdvanceOutcome>;
  meters(): Promise<Meter[]>;
  stripeMeters(): Promise<DestinationMeter[]>;
  readonly marginMs: number;
  readonly withoutVerdict: 'hold' | 'release';
  readonly log: {
    info(fields: object, phrase: string): void;
    warn(fields: object, phrase: string): void;
    error(fields: object, phrase: string): void;
  };
}

export interface GuardInvoicesResult {
  /** Looks that were taken. */
  readonly looks: number;
  readonly held: number;
  readonly released: number;
  readonly final: number;
  /** Jobs that bring the two sides together; rung when this one is done. */
  readonly wanted: readonly WantedJob[];
  /** Invoices that Stripe refuses to tell of, or to hold or release; absent where there are none. */
  readonly refused?: RefusedItems;
}

const BATCH = 200;
/** Invoices that are looked at together. */
const CONCURRENCY = 8;
/** Looks at one invoice in a run: as many as there are steps from a hold to a release, and some to spare. */
const LOOKS_MAX = 8;
const RETRY_MS = 60_000;
/** So many customers are flushed each by itself; beyond it everything is. */
const FLUSHES_MAX = 20;
const CYCLE = 'subscription_cycle';
/** An invoice that was final before it was first heard of is compared if that is not longer ago. */
const FINAL_AGE_MS_MAX = 3 * DAY_MS;

/** Whether the guard looks at an invoice: only those of a subscription's cycle bill a period to its end. */
export function isGuarded(invoice: Invoice, nowMs: number): boolean {
  if (invoice.billingReason !== CYCLE) return false;
  if (invoice.status === 'draft') return true;
  const finalAtMs = invoice.finalizedAt?.getTime();
  return isBilled(invoice.status) && finalAtMs !== undefined && nowMs - finalAtMs <= FINAL_AGE_MS_MAX;
}

/**
 * Looks at every invoice that is due: has what is left of its period sent, compares, holds, releases. Safe to run at any
 * time, twice at once, and to stop anywhere: a guard is stored before the call that follows from it, and calls are
 * repeated under the same idempotency key.
 */
export async function guardInvoices(
  deps: GuardInvoicesDeps,
  input: { signal?: AbortSignal } = {},
): Promise<GuardInvoicesResult> {
  await findUnguarded(deps);
  const run = new GuardRun(deps, catalogueOf(await deps.meters(), await deps.stripeMeters()));
  await run.toTheEnd(input.signal);
  return run.result();
}

/** The webhook that told of an invoice has its guard made; this finds those that were mirrored in another way. */
async function findUnguarded(deps: GuardInvoicesDeps): Promise<void> {
  const nowMs = deps.clock.now();
  let after = '';
  for (;;) {
    const page = await deps.invoices.drafts(after, BATCH);
    const drafts = page.filter((invoice) => isGuarded(invoice, nowMs));
    const unguarded = await deps.guards.unguarded(drafts.map(({ _id }) => _id));
    for (const invoice of drafts) if (unguarded.has(invoice._id)) await deps.guards.wake(invoice, new Date(nowMs));
    const last = page.at(-1);
    if (last === undefined) return;
    after = last._id;
  }
}

class GuardRun {
  readonly #deps: GuardInvoicesDeps;
  readonly #catalogue: Catalogue;
  readonly #looks = new Map<string, number>();
  readonly #wanted = new Map<string, WantedJob>();
  readonly #tally = { looks: 0, held: 0, released: 0, final: 0 };
  readonly #refusals = new Refusals();

  constructor(deps: GuardInvoicesDeps, catalogue: Catalogue) {
    this.#deps = deps;
    this.#catalogue = catalogue;
  }

  result(): GuardInvoicesResult {
    const wanted = [...this.#wanted.values()];
    const tally = { ...this.#tally, ...this.#refusals.result() };
    const isFlush = ({ job }: WantedJob): boolean => job === 'submit-meter-events';
    if (wanted.filter(isFlush).length <= FLUSHES_MAX) return { ...tally, wanted };
    const all = { job: 'submit-meter-events', input: { flush: true } };
    return { ...tally, wanted: [...wanted.filter((job) => !isFlush(job)), all] };
  }

  async toTheEnd(signal: AbortSignal | undefined): Promise<void> {
    for (;;) {
      const due = await this.#deps.guards.due(new Date(this.#deps.clock.now()), BATCH);
      const open = due.filter(({ invoiceId }) => (this.#looks.get(invoiceId) ?? 0) < LOOKS_MAX);
      if (open.length === 0) return;
      for (let from = 0; from < open.length; from += CONCURRENCY) {
        if (signal?.aborted === true) return;
        await Promise.all(open.slice(from, from + CONCURRENCY).map((record) => this.#take(record)));
      }
    }
  }

  /** One look; what goes wrong with it is said and keeps no other invoice waiting. */
  async #take(record: GuardRecord): Promise<void> {
    const { invoiceId: invoice } = record;
    this.#tally.looks += 1;
    this.#looks.set(invoice, (this.#looks.get(invoice) ?? 0) + 1);
    try {
      await this.#look(record);
    } catch (err) {
      this.#deps.log[isPassing(err) ? 'warn' : 'error']({ err, invoice }, 'could not look at an invoice');
      const refusal = refusalOf(err);
      if (refusal !== undefined) this.#refusals.add({ item: `invoice ${invoice}`, ...refusal });
      await this.#deps.guards.postpone(record, new Date(this.#deps.clock.now() + RETRY_MS), failureOf(err));
    }
  }

  async #look(record: GuardRecord): Promise<void> {
    const deps = this.#deps;
    const catalogue = this.#catalogue;
    const isInCall = ['holding', 'held', 'releasing'].includes(record.guard.state);
    const mirrored = isInCall ? undefined : ((await deps.invoices.find(record.invoiceId)) ?? undefined);
    const known = { record, catalogue };
    let found = await this.#decide(known, { invoice: mirrored, isFresh: false });
    if (found.decision.action === 'fetch') {
      const invoice = await deps.refresh(record.invoiceId);
      found = await this.#decide(known, { invoice, isFresh: true, ...reusable(found, invoice, mirrored) });
    }
    for (const wanted of found.look.wanted) this.#wanted.set(JSON.stringify(wanted), wanted);
    await this.#carryOut(record, found);
  }

  async #decide(
    { record, catalogue }: { record: GuardRecord; catalogue: Catalogue },
    at: { invoice: Invoice | undefined; isFresh: boolean; look?: Look },
  ): Promise<{ decision: GuardDecision; look: Look }> {
    const { clock, marginMs, withoutVerdict } = this.#deps;
    const { invoice, isFresh } = at;
    const look = at.look ?? (await this.#compare(record, { invoice, catalogue }));
    const evidence = { invoice: invoice && toGuarded(invoice), isFresh, ...look.evidence };
    return { decision: decideGuard(record.guard, evidence, { nowMs: clock.now(), marginMs, withoutVerdict }), look };
  }

  /** What a call is about to end, or has just begun, is compared at the look after it. */
  async #compare(
    record: GuardRecord,
    { invoice, catalogue }: { invoice: Invoice | undefined; catalogue: Catalogue },
  ): Promise<Look> {
    const isComparable = invoice !== undefined && invoice.status !== 'void';
    const isCalling = record.guard.state === 'holding' || record.guard.state === 'releasing';
    if (isComparable && !isCalling) return lookAtInvoice(this.#deps, invoice, { record, catalogue });
    return { ...record, evidence: { lines: 'unknown', isWorkWaiting: false }, wanted: [] };
  }

  async #carryOut(record: GuardRecord, { decision, look }: { decision: GuardDecision; look: Look }): Promise<void> {
    const deps = this.#deps;
    const { customerId, lines } = look;
    const next = { ...record, ...(customerId !== undefined && { customerId }), guard: decision.guard, lines };
    if (!(await deps.guards.save(next, record, new Date(deps.clock.now())))) return;
    await boundary('guard.stored');
    this.#say(record, next);
    const { action } = decision;
    if (action !== 'hold' && action !== 'release') return;
    const stored = { ...next, revision: record.revision + 1 };
    const guard = await this.#call(stored, action);
    if (guard === stored.guard) return;
    const done = { ...stored, guard };
    // Where another was quicker, it has stored the same, or will make the same call and store what came of it.
    if (!(await deps.guards.save(done, stored, new Date(deps.clock.now())))) return;
    await boundary('guard.call-stored');
    this.#say(stored, done);
  }

  async #call({ invoiceId, guard }: GuardRecord, action: 'hold' | 'release'): Promise<InvoiceGuard> {
    const { clock, log } = this.#deps;
    const autoAdvance = action === 'release' && guard.previousAutoAdvance !== false;
    const idempotencyKey = advanceKey(invoiceId, guard, action);
    const outcome = await this.#deps.setAutoAdvance({ invoiceId, autoAdvance, idempotencyKey });
    await boundary('guard.called');
    if (outcome.kind === 'refused') {
      this.#refusals.add({
        item: `${action} of invoice ${invoiceId}`,
        reason: 'stripe_refused',
        message: outcome.message,
      });
      log.error(
        { invoice: invoiceId, action, message: outcome.message },
        'stripe refused to hold or release an invoice',
      );
    }
    return settleCall(guard, outcome, { action, nowMs: clock.now() });
  }

  #say(before: GuardRecord, { invoiceId: invoice, customerId, guard, lines }: GuardRecord): void {
    const { log } = this.#deps;
    const { state, reason, releasedBy, checks } = guard;
    const fields = { invoice, customerId, ...(reason !== undefined && { reason }) };
    if (state === 'final' && guard.differs && checks === 1) {
      log.error({ ...fields, lines: lines.filter(isDifferent) }, 'an invoice does not bill what was used');
    }
    if (reason === 'not_advancing' && before.guard.reason !== reason) {
      log.error(fields, 'a released invoice does not advance');
    }
    if (state === before.guard.state) return;
    if (state === 'held' || state === 'released' || state === 'final') this.#tally[state] += 1;
    if (state === 'held') log.error({ ...fields, lines: lines.filter(isDifferent) }, 'invoice held');
    else if (state === 'released') log.info({ ...fields, releasedBy }, 'invoice released');
    else if (state === 'passed' && reason === 'without_verdict') log.error(fields, 'invoice let go without a verdict');
  }
}

/** Fetching changed nothing that the comparison was made of: it need not be made again. */
function reusable(found: { look: Look }, now: Invoice | undefined, before: Invoice | undefined): { look?: Look } {
  const isSame = now?.status === 'draft' && before?.status === 'draft';
  return isSame ? { look: found.look } : {};
}

function isDifferent({ verdict }: { verdict: string }): boolean {
  return verdict !== 'match' && verdict !== 'late';
}

function toGuarded({ status, autoAdvance, automaticallyFinalizesAt, createdAt }: Invoice): GuardedInvoice {
  return {
    status,
    autoAdvance,
    createdAtMs: createdAt.getTime(),
    ...(automaticallyFinalizesAt && { finalizesAtMs: automaticallyFinalizesAt.getTime() }),
  };
}

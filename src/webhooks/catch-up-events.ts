import { boundary } from '../platform/boundary.ts';
import type { Clock } from '../platform/clock.ts';
import { type RefusedItems, Refusals } from '../stripe/stripe-refusal.ts';
import { topicOf, type WebhookEvent, type WebhookKind } from './webhook.ts';
import { DAY_MS, HOUR_MS } from '../platform/durations.ts';
import type { MirrorAccountResult, UnmirroredObject } from '../mirror/mirror-account.ts';

/** Told of what cannot be read by itself; throws what is not about that alone. */
type OnRefused = (item: string, error: unknown) => void;

export interface CatchUpEventsDeps {
  readonly events: {
    listSnapshots(fromMs: number, toMs: number, onRefused: OnRefused): AsyncIterable<WebhookEvent>;
    listThin(sinceMs: number, onRefused: OnRefused): AsyncIterable<WebhookEvent>;
  };
  readonly inbox: {
    record(
      events: readonly WebhookEvent[],
      as: { at: Date; source: 'catch-up'; isHandled: (event: WebhookEvent) => boolean },
    ): Promise<ReadonlySet<string>>;
    prune(before: Date): Promise<number>;
  };
  /** Up to when nothing is missing. */
  readonly coverage: {
    find(kind: WebhookKind): Promise<Date | undefined>;
    extend(kind: WebhookKind, to: Date): Promise<void>;
  };
  /** Mirrors everything, where no list of events reaches back far enough. */
  mirrorAccount(refusals: Refusals, signal: AbortSignal | undefined): Promise<MirrorAccountResult>;
  /** Lets calendars follow whose subscriptions changed; returns how many. */
  mirrorWaitingCalendars(refusals: Refusals): Promise<number>;
  /** Whether our key is a live one. */
  readonly isLive: boolean;
  readonly clock: Pick<Clock, 'now'>;
}

export interface CatchUpEventsResult extends Readonly<Record<string, unknown>> {
  /** Events that Stripe lists and nobody delivered. */
  readonly recorded: number;
  /** Objects that were mirrored from lists, at the first time and after long absence. */
  readonly listed: number;
  readonly calendars: number;
  /** What the run went on without; absent where there is nothing. */
  readonly refused?: RefusedItems;
}

/** Events may be listed later than they were created, and our clock may be ahead of Stripe's. */
const OVERLAP_MS = 2 * HOUR_MS;
/** Stripe lists events for 30 days. */
const LISTED_MS = 29 * DAY_MS;
/** Read at a time, so that a stop costs one of them. */
const SLICE_MS = DAY_MS;
const BATCH = 100;
/** How long events that are done are remembered: longer than Stripe delivers or lists them. */
const KEPT_MS = 40 * DAY_MS;

/**
 * Records the events that were never delivered: the daemon was away for longer than Stripe tries, or a destination was
 * set up late or not at all. How far it got is stored only after what was found is durable. At the first time, and when
 * it was away for longer than Stripe's list reaches back, everything is mirrored instead.
 */
export async function catchUpEvents(
  deps: CatchUpEventsDeps,
  input: { signal?: AbortSignal } = {},
): Promise<CatchUpEventsResult> {
  const refusals = new Refusals();
  // One that fails does not keep the other from being caught up.
  const [snapshots, thin] = await Promise.allSettled([
    catchUpSnapshots(deps, refusals, input.signal),
    catchUpThin(deps, refusals),
  ]);
  const calendars = await deps.mirrorWaitingCalendars(refusals);
  await deps.inbox.prune(new Date(deps.clock.now() - KEPT_MS));
  if (snapshots.status === 'rejected') throw snapshots.reason;
  if (thin.status === 'rejected') throw thin.reason;
  const recorded = snapshots.value.recorded + thin.value;
  return { recorded, listed: snapshots.value.listed, calendars, ...refusals.result() };
}

async function catchUpSnapshots(
  deps: CatchUpEventsDeps,
  refusals: Refusals,
  signal: AbortSignal | undefined,
): Promise<{ recorded: number; listed: number }> {
  const nowMs = deps.clock.now();
  const covered = await deps.coverage.find('snapshot');
  if (covered === undefined || nowMs - covered.getTime() > LISTED_MS) {
    const { subscriptions, invoices, unmirrored } = await deps.mirrorAccount(refusals, signal);
    if (signal?.aborted === true) return { recorded: 0, listed: 0 };
    const recorded = await recordUnmirrored(deps, unmirrored);
    await deps.coverage.extend('snapshot', new Date(nowMs));
    await boundary('catchup.account-mirrored');
    return { recorded, listed: subscriptions + invoices };
  }
  let recorded = 0;
  for (let fromMs = covered.getTime() - OVERLAP_MS; fromMs < nowMs; fromMs += SLICE_MS) {
    const toMs = Math.min(fromMs + SLICE_MS, nowMs);
    recorded += await record(deps, deps.events.listSnapshots(fromMs, toMs, noteIn(refusals)));
    await deps.coverage.extend('snapshot', new Date(toMs));
    await boundary('catchup.covered');
    if (signal?.aborted === true) break;
  }
  return { recorded, listed: 0 };
}

/**
 * What Stripe refused while everything was mirrored goes to the inbox, as if an event had told of it: there it is tried
 * again, keeps its reason, and waits for a person when it never succeeds.
 */
async function recordUnmirrored(deps: CatchUpEventsDeps, unmirrored: readonly UnmirroredObject[]): Promise<number> {
  const nowMs = deps.clock.now();
  const toEvent = ({ kind, id }: UnmirroredObject): WebhookEvent => ({
    id: `mirror.${id}.${nowMs}`,
    kind: 'snapshot',
    type: kind === 'invoice' ? 'invoice.updated' : 'customer.subscription.updated',
    objectId: id,
    createdAtMs: nowMs,
    isLive: deps.isLive,
  });
  const as = { at: new Date(nowMs), source: 'catch-up' as const, isHandled: () => true };
  return (await deps.inbox.record(unmirrored.map(toEvent), as)).size;
}

function noteIn(refusals: Refusals): OnRefused {
  return (item, error) => refusals.note(`event ${item}`, error);
}

async function catchUpThin(deps: CatchUpEventsDeps, refusals: Refusals): Promise<number> {
  const nowMs = deps.clock.now();
  const covered = await deps.coverage.find('thin');
  const sinceMs = covered === undefined ? 0 : covered.getTime() - OVERLAP_MS;
  const recorded = await record(deps, deps.events.listThin(sinceMs, noteIn(refusals)));
  await deps.coverage.extend('thin', new Date(nowMs));
  await boundary('catchup.covered');
  return recorded;
}

async function record(deps: CatchUpEventsDeps, events: AsyncIterable<WebhookEvent>): Promise<number> {
  const as = {
    at: new Date(deps.clock.now()),
    source: 'catch-up' as const,
    isHandled: (event: WebhookEvent): boolean => topicOf(event) !== undefined,
  };
  let recorded = 0;
  let batch: WebhookEvent[] = [];
  for await (const event of events) {
    batch.push(event);
    if (batch.length < BATCH) continue;
    recorded += (await deps.inbox.record(batch, as)).size;
    await boundary('catchup.recorded');
    batch = [];
  }
  recorded += (await deps.inbox.record(batch, as)).size;
  await boundary('catchup.recorded');
  return recorded;
}

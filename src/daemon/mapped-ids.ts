import type { MappedElsewhere } from '../usage/mapped-elsewhere.ts';
import { decideOnMappedId, type MappedIdDeps, settleMappedIds } from '../submissions/resolving/settle-mapped-ids.ts';
import { toRejectedText } from '../usage/rejected-text.ts';
import { registerMappedIds } from '../submissions/resolving/mapped-ids-routes.ts';
import type { RouteRegistrar } from '../platform/http/route.ts';
import type { JobQueue } from '../platform/queue/job-queue.ts';
import type { JobHandler } from '../platform/queue/job-worker.ts';
import { toPairText } from '../usage/dirty-hours-store.ts';
import type { MappedIdDocument } from '../submissions/resolving/mapped-ids-store.ts';
import { toRawEvent, usageEventFor, type UsageEventDocument } from '../usage/usage-events-store.ts';
import { epochHourOf } from '../customers/calendar/window.ts';
import type { JobParts } from './job-parts.ts';

const HOURS_PER_BATCH = 1_000;
/** Stored again at a time: what one commit takes. */
const EVENTS_PER_BATCH = 500;
const ADJUSTMENTS_PER_PAGE = 500;
const LATE_ENTRIES_MAX = 1_000;
/** What the queue of ingest is charged for an event that is stored once more; more than nearly all of them have. */
const EVENT_BYTES = 1_024;
/** How long it is remembered whether an id is mapped elsewhere, and of how many. */
const REMEMBERED_MS = 3_000;
const REMEMBERED_MAX = 10_000;

type MappedElsewhereLookup = (ids: readonly string[]) => Promise<ReadonlyMap<string, MappedElsewhere>>;

/** Which ids of Stripe's have another customer mapped to them, remembered for seconds. */
export function rememberMappings({ stores, clock }: JobParts): MappedElsewhereLookup {
  const remembered = new Map<string, { atMs: number; found?: MappedElsewhere }>();
  return async (ids) => {
    const nowMs = clock.now();
    const unknown = ids.filter((id) => nowMs - (remembered.get(id)?.atMs ?? Number.NEGATIVE_INFINITY) > REMEMBERED_MS);
    if (unknown.length > 0) {
      if (remembered.size + unknown.length > REMEMBERED_MAX) remembered.clear();
      const mapped = await stores.customers.mappedTo(unknown);
      const elsewhere = unknown.filter((id) => (mapped.get(id) ?? id) !== id);
      const counting = await stores.mappedIds.counting(elsewhere);
      for (const id of unknown) {
        const customerId = mapped.get(id) ?? id;
        const found = { customerId, isCounted: counting.get(id) === customerId };
        remembered.set(id, { atMs: nowMs, ...(customerId !== id && { found }) });
      }
    }
    return new Map(
      ids.flatMap((id) => {
        const found = remembered.get(id)?.found;
        return found === undefined ? [] : [[id, found] as const];
      }),
    );
  };
}

function depsOf({ stores, clock }: JobParts): MappedIdDeps<MappedIdDocument, UsageEventDocument> {
  const mappedTo = async (id: string): Promise<string | undefined> => (await stores.customers.mappedTo([id])).get(id);
  return {
    mappedIds: stores.mappedIds,
    mappedTo,
    hoursOf: (customerId) => stores.rawFacts.pairsFrom({ fromHour: 0, customerId, batchSize: HOURS_PER_BATCH }),
    eventsOf: (customerId, hour) => stores.usageEvents.ofHour(customerId, hour, EVENTS_PER_BATCH),
    appendFor: (customerId, events) =>
      stores.usageLog.append(
        events.map((event) => usageEventFor(customerId, event, clock.now())),
        events.length * EVENT_BYTES,
      ),
    keepConflicts: (customerId, events) =>
      stores.rejectedEvents.keep(
        events.map((document) => {
          const { receivedAt: _received, ...event } = toRawEvent(document);
          return {
            ...toRejectedText({ ...event, customerId }),
            idempotencyKey: event.idempotencyKey,
            customerId,
            code: 'event_conflict',
            detail: `It came as ${event.customerId}; ${customerId} has an event with this key and other content, which stands.`,
            pointer: '/idempotencyKey',
          };
        }),
        new Date(clock.now()),
      ),
    copyAdjustments: (from, to) => copyAdjustments({ stores, clock }, from, to),
    late: {
      replace: (submission, note, at) => stores.lateSubmissions.replace(submission, note, at),
      waiting: (customerId) => stores.lateUsage.list({ state: 'waiting', customerId, limit: LATE_ENTRIES_MAX }),
      dismiss: async (id, decided) => {
        await stores.lateUsage.decide(id, { policy: 'dismiss', ...decided });
        await stores.lateUsage.finishDecision(id);
      },
    },
    clock,
  };
}

/** By the rules of recording one: the hour is in the journal before the fact, and still when it is durable. */
async function copyAdjustments(
  { stores, clock }: Pick<JobParts, 'stores' | 'clock'>,
  from: string,
  to: string,
): Promise<number> {
  let copied = 0;
  let page = await stores.usageAdjustments.list({ customerId: from, limit: ADJUSTMENTS_PER_PAGE });
  for (;;) {
    for (const { receivedAtMs: _received, ...adjustment } of page.adjustments) {
      const pair = toPairText({ customerId: to, hour: epochHourOf(adjustment.occurredAtMs) });
      const at = new Date(clock.now());
      const entry = await stores.dirtyHours.open([pair], at);
      const outcome = await stores.usageAdjustments.insert({ ...adjustment, customerId: to }, at.getTime());
      await stores.dirtyHours.close(entry, [pair], at);
      if (outcome === 'inserted') copied += 1;
    }
    if (page.next === undefined) return copied;
    page = await stores.usageAdjustments.list({ customerId: from, after: page.next, limit: ADJUSTMENTS_PER_PAGE });
  }
}

export function mappedIdJobs(parts: JobParts): Record<'settle-mapped-ids', JobHandler> {
  return { 'settle-mapped-ids': () => settleMappedIds(depsOf(parts)) };
}

/** Decisions of which something may be left to do, as MongoDB tells. */
export async function dueMappedIdJobs({ stores }: JobParts): Promise<string[]> {
  return (await stores.mappedIds.due()).length > 0 ? ['settle-mapped-ids'] : [];
}

export function mappedIdRoutes(parts: JobParts, queue: JobQueue): RouteRegistrar[] {
  return [
    (app) =>
      registerMappedIds(app, {
        decide: async (input) => {
          const decided = await decideOnMappedId(depsOf(parts), input);
          // The record says what is to be done: without the bell the sweep finds it within a minute.
          if (input.dryRun !== true) queue.ring('settle-mapped-ids');
          return decided;
        },
      }),
  ];
}

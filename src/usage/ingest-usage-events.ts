import { boundary } from '../platform/boundary.ts';
import type { Clock } from '../platform/clock.ts';
import { conflictFault, differingFields } from './event-conflict.ts';
import type { EventInput } from './event-input.ts';
import type { AppendOutcome, EventResult, IngestResult, IngestWarning } from './ingest-result.ts';
import { cutRejectedText, type RejectedText, toRejectedText } from './rejected-text.ts';
import { parseUsageEvent, type UsageEvent } from './usage-event.ts';
import { countWithMapped, findMappedElsewhere, type MappedElsewhereDeps, mappingWarnings } from './mapped-elsewhere.ts';
import { ID_BYTES_MAX } from '../platform/id-text.ts';
import type { EventFault } from '../meters/property.ts';

/** Input that was refused, in the form in which it is kept. */
export interface RefusedEvent extends RejectedText, EventFault {
  readonly idempotencyKey?: string;
  readonly customerId?: string;
}

export interface IngestUsageEventsDeps extends MappedElsewhereDeps {
  /** Stores events; durable when it returns. `bytes` is the size of the input they came from. */
  append(events: readonly UsageEvent[], bytes: number): Promise<readonly AppendOutcome[]>;
  /** Of each event the one that is durably stored under its key, if there is one. */
  findStored(events: readonly UsageEvent[]): Promise<readonly (UsageEvent | undefined)[]>;
  /** Keeps refusals; durable when it returns. */
  keepRejected(refused: readonly RefusedEvent[], at: Date): Promise<void>;
  /** Those of the event types that no meter counts; none when that is not known at present. Never rejects. */
  unmeteredTypes(eventTypes: ReadonlySet<string>): Promise<readonly string[]>;
  /**
   * Those of the customers whom nobody mapped to a Stripe customer; none when that is not known. An id of Stripe's is its
   * own, or is told of by `mappedElsewhere`. Never rejects.
   */
  unmappedCustomers(customerIds: ReadonlySet<string>): Promise<readonly string[]>;
  /** Told how long before its arrival the oldest stored event of a request occurred. */
  observeDelay(delayMs: number): void;
  readonly clock: Pick<Clock, 'now'>;
}

export interface IngestUsageEventsInput {
  readonly events: EventInput;
  /** Size of the request. */
  readonly bytes: number;
  /** Older events are refused. */
  readonly ageMsMax: number;
  /** Says what would become of them, and stores nothing. */
  readonly dryRun?: boolean;
}

const WARNINGS_MAX = 20;
/** In the place of a fault, of a duplicate. */
const NO_FAULT: EventFault = { code: '', detail: '', pointer: '' };

/**
 * Stores what obeys the rules and keeps what does not, each event on its own. Every outcome is durable when this
 * returns; when it throws, nothing was acknowledged and the same request can be sent again.
 * @throws DaemonError `transient` when the stores cannot give a durable answer.
 */
export async function ingestUsageEvents(
  deps: IngestUsageEventsDeps,
  input: IngestUsageEventsInput,
): Promise<IngestResult> {
  const nowMs = deps.clock.now();
  const judged = judge(input, nowMs);
  const { results, refused } = judged;
  const elsewhere = await findMappedElsewhere(deps, judged.accepted);
  const accepted = countWithMapped(judged.accepted, elsewhere);
  const events = accepted.map(({ event }) => event);
  const rejected = refused.length;
  const named = nameWarnings(deps, events);
  const outcomes = input.dryRun === true ? await foreseeOutcomes(deps, events) : await deps.append(events, input.bytes);
  await boundary('ingest.events-appended');
  if (events.length > 0 && input.dryRun !== true) deps.observeDelay(nowMs - judged.oldestMs);
  const conflicts = await explainConflicts(
    deps,
    input.events,
    accepted.filter((_, position) => outcomes[position] === 'conflict'),
  );
  for (let position = 0; position < outcomes.length; position += 1) {
    const of = accepted[position];
    if (outcomes[position] === 'accepted' || of === undefined) continue;
    const value = input.events.values[of.index];
    const fault = conflicts.get(of.index);
    const refusal = refuse(value, fault ?? NO_FAULT, { text: '', truncated: false });
    if (fault !== undefined) refused.push({ ...refusal, ...toRejectedText(value) });
    results.push(toResult(of.index, fault === undefined ? 'duplicate' : 'conflict', refusal));
  }
  if (refused.length > 0 && input.dryRun !== true) {
    await deps.keepRejected(refused, new Date(nowMs));
    await boundary('ingest.refusals-kept');
  }
  const warnings = [...(await named), ...timeWarnings(input.events, accepted), ...mappingWarnings(elsewhere)];
  return summarise({ results, accepted: outcomes.length, rejected, warnings });
}

/** An event that obeys the rules, and its position in the request. */
interface AcceptedEvent {
  readonly event: UsageEvent;
  readonly index: number;
}

interface JudgedEvents {
  readonly accepted: AcceptedEvent[];
  readonly results: EventResult[];
  readonly refused: RefusedEvent[];
  /** When the oldest of those that obey the rules occurred; the present without any. */
  readonly oldestMs: number;
}

/** Holds every event against the rules. */
function judge(input: IngestUsageEventsInput, nowMs: number): JudgedEvents {
  const { values, faults, timeless } = input.events;
  const bounds = { nowMs, ageMsMax: input.ageMsMax };
  const accepted: AcceptedEvent[] = [];
  const results: EventResult[] = [];
  const refused: RefusedEvent[] = [];
  let oldestMs = nowMs;
  for (let index = 0; index < values.length; index += 1) {
    const value = values[index];
    const early = faults.size === 0 ? undefined : faults.get(index);
    const stated = timeless?.has(index) === true ? withArrival(value, nowMs) : value;
    const verdict = early ?? parseUsageEvent(stated, bounds);
    if ('event' in verdict) {
      accepted.push({ event: verdict.event, index });
      oldestMs = Math.min(oldestMs, verdict.event.occurredAtMs);
      continue;
    }
    const text = early?.text === undefined ? toRejectedText(value) : cutRejectedText(early.text);
    const refusal = refuse(value, verdict.fault, text);
    refused.push(refusal);
    results.push(toResult(index, 'rejected', refusal));
  }
  return { accepted, results, refused, oldestMs };
}

/** An event without a time of its own, at the instant of its arrival. */
function withArrival(value: unknown, nowMs: number): unknown {
  return { ...(value as object), occurredAt: new Date(nowMs).toISOString() };
}

/**
 * The faults of those that conflict, by index. An event without a time of its own that differs in nothing but the instant
 * of its arrival is a repetition, not a conflict: what it states is the same, and the first arrival stands.
 */
async function explainConflicts(
  deps: IngestUsageEventsDeps,
  { timeless }: EventInput,
  conflicting: readonly AcceptedEvent[],
): Promise<Map<number, EventFault>> {
  if (conflicting.length === 0) return new Map();
  const stored = await deps.findStored(conflicting.map(({ event }) => event));
  const faults = new Map<number, EventFault>();
  for (const [position, { event, index }] of conflicting.entries()) {
    const standing = stored[position];
    const isRepetition =
      timeless?.has(index) === true &&
      standing !== undefined &&
      differingFields(event, standing).every((name) => name === 'occurredAt');
    if (!isRepetition) faults.set(index, conflictFault(event, standing));
  }
  return faults;
}

function summarise(parts: {
  results: EventResult[];
  /** Events that obey the rules, whatever became of them. */
  accepted: number;
  rejected: number;
  warnings: IngestWarning[];
}): IngestResult {
  const { results, rejected, warnings } = parts;
  let duplicates = 0;
  for (const { outcome } of results) if (outcome === 'duplicate') duplicates += 1;
  const conflicts = results.length - rejected - duplicates;
  if (results.length > 1) results.sort((a, b) => a.index - b.index);
  return {
    accepted: parts.accepted - duplicates - conflicts,
    duplicates,
    conflicts,
    rejected,
    results,
    ...(warnings.length > 0 && { warnings }),
  };
}

function toResult(index: number, outcome: EventResult['outcome'], refusal: RefusedEvent): EventResult {
  const idempotencyKey = refusal.idempotencyKey ?? null;
  if (outcome === 'duplicate') return { index, idempotencyKey, outcome };
  const { code, detail, pointer } = refusal;
  return { index, idempotencyKey, outcome, error: { code, detail, pointer } };
}

/** A refusal with as much of the event's identity as can be stored. */
function refuse(value: unknown, fault: EventFault, text: RejectedText): RefusedEvent {
  const fields = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  const idempotencyKey = storable(fields['idempotencyKey']);
  const customerId = storable(fields['customerId']);
  return {
    ...fault,
    ...text,
    ...(idempotencyKey !== undefined && { idempotencyKey }),
    ...(customerId !== undefined && { customerId }),
  };
}

function storable(value: unknown): string | undefined {
  return typeof value === 'string' && value.length <= ID_BYTES_MAX && value.isWellFormed() ? value : undefined;
}

function timeWarnings({ timeless }: EventInput, accepted: readonly AcceptedEvent[]): IngestWarning[] {
  const count = timeless === undefined ? 0 : accepted.filter(({ index }) => timeless.has(index)).length;
  if (count === 0) return [];
  const detail = `${count} of the events had no time: they count at the instant of their first arrival. Send time.`;
  return [{ code: 'occurred_at_assumed', detail }];
}

/** What an append would answer, by what is stored; a key that stands twice in the request is looked up twice. */
export async function foreseeOutcomes(
  deps: Pick<IngestUsageEventsDeps, 'findStored'>,
  events: readonly UsageEvent[],
): Promise<AppendOutcome[]> {
  const stored = events.length === 0 ? [] : await deps.findStored(events);
  return events.map((event, position) => {
    const standing = stored[position];
    if (standing === undefined) return 'accepted';
    return differingFields(event, standing).length === 0 ? 'duplicate' : 'conflict';
  });
}

/** Names that lead nowhere yet: stored and counted all the same, and reported once for each name. */
async function nameWarnings(deps: IngestUsageEventsDeps, events: readonly UsageEvent[]): Promise<IngestWarning[]> {
  if (events.length === 0) return [];
  const [unmetered, unmapped] = await Promise.all([
    deps.unmeteredTypes(new Set(events.map(({ eventType }) => eventType))),
    deps.unmappedCustomers(new Set(events.map(({ customerId }) => customerId))),
  ]);
  return [
    ...unmetered.slice(0, WARNINGS_MAX).map((eventType) => ({
      code: 'event_type_unmetered',
      detail: `No meter counts events of the type "${eventType}". They are stored, and count once there is one.`,
    })),
    ...unmapped.slice(0, WARNINGS_MAX).map((customerId) => ({
      code: 'customer_unmapped',
      detail: `No Stripe customer is known for "${customerId}". Its usage counts, and goes to Stripe once it is mapped.`,
    })),
  ];
}

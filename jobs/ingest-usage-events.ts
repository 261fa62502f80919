import { boundary } from '../src/boundary.ts';
import type { Clock } from '../src/clock.ts';
import type { EventInput } from '../src/domain/event-input.ts';
import type { AppendOutcome, EventResult, IngestResult, IngestWarning } from '../src/domain/ingest-result.ts';
import { cutRejectedText, type RejectedText, toRejectedText } from '../src/domain/rejected-text.ts';
import { type EventFault, ID_BYTES_MAX, parseUsageEvent, type UsageEvent } from '../src/domain/usage-event.ts';

/** Input that was refused, in the form in which it is kept. */
export interface RefusedEvent extends RejectedText, EventFault {
  readonly idempotencyKey?: string;
  readonly customerId?: string;
}

export interface IngestUsageEventsDeps {
  /** Stores events; durable when it returns. `bytes` is the size of the input they came from. */
  append(events: readonly UsageEvent[], bytes: number): Promise<readonly AppendOutcome[]>;
  /** Keeps refusals; durable when it returns. */
  keepRejected(refused: readonly RefusedEvent[], at: Date): Promise<void>;
  /** The event types that some meter counts; undefined when they are not known at present. */
  meteredEventTypes(): ReadonlySet<string> | undefined;
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
}

const WARNINGS_MAX = 20;
const CONFLICT: EventFault = {
  code: 'event_conflict',
  detail: 'An event with this idempotencyKey and other content is stored; it stands.',
  pointer: '/idempotencyKey',
};

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
  const { values, faults } = input.events;
  const bounds = { nowMs, ageMsMax: input.ageMsMax };
  const events: UsageEvent[] = [];
  let oldestMs = nowMs;
  /** Of each event, its position in the request. */
  const indexes: number[] = [];
  const results: EventResult[] = [];
  const refused: RefusedEvent[] = [];
  for (let index = 0; index < values.length; index += 1) {
    const value = values[index];
    const early = faults.size === 0 ? undefined : faults.get(index);
    const verdict = early ?? parseUsageEvent(value, bounds);
    if ('event' in verdict) {
      events.push(verdict.event);
      indexes.push(index);
      oldestMs = Math.min(oldestMs, verdict.event.occurredAtMs);
      continue;
    }
    const text = early?.text === undefined ? toRejectedText(value) : cutRejectedText(early.text);
    const refusal = refuse(value, verdict.fault, text);
    refused.push(refusal);
    results.push(toResult(index, 'rejected', refusal));
  }
  const rejected = refused.length;
  const outcomes = await deps.append(events, input.bytes);
  await boundary('ingest.events-appended');
  if (events.length > 0) deps.observeDelay(nowMs - oldestMs);
  for (let position = 0; position < outcomes.length; position += 1) {
    const outcome = outcomes[position];
    const index = indexes[position];
    if (outcome === 'accepted' || outcome === undefined || index === undefined) continue;
    const refusal = refuse(values[index], CONFLICT, { text: '', truncated: false });
    if (outcome === 'conflict') refused.push({ ...refusal, ...toRejectedText(values[index]) });
    results.push(toResult(index, outcome, refusal));
  }
  if (refused.length > 0) {
    await deps.keepRejected(refused, new Date(nowMs));
    await boundary('ingest.refusals-kept');
  }
  return summarise({ results, accepted: outcomes.length, rejected, warnings: warningsOf(deps, events) });
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

function warningsOf(deps: IngestUsageEventsDeps, events: readonly UsageEvent[]): IngestWarning[] {
  const metered = deps.meteredEventTypes();
  if (metered === undefined) return [];
  let unmetered: Set<string> | undefined;
  for (const { eventType } of events) {
    if (!metered.has(eventType) && (unmetered?.size ?? 0) < WARNINGS_MAX) (unmetered ??= new Set()).add(eventType);
  }
  return [...(unmetered ?? [])].map((eventType) => ({
    code: 'event_type_unmetered',
    detail: `No meter counts events of the type "${eventType}". They are stored, and count once there is one.`,
  }));
}

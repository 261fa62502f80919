import { boundary } from '../platform/boundary.ts';
import type { Clock } from '../platform/clock.ts';
import { conflictFault } from './event-conflict.ts';
import { foreseeOutcomes } from './ingest-usage-events.ts';
import { parseJson } from '../platform/exact-json.ts';
import type { AppendOutcome } from './ingest-result.ts';
import { parseUsageEvent, type UsageEvent } from './usage-event.ts';
import { DaemonError } from '../platform/errors.ts';
import type { EventFault } from '../meters/property.ts';

export interface ReplayRejectedEventDeps {
  readonly rejected: {
    find(id: string): Promise<{ readonly text: string; readonly truncated?: boolean } | null>;
    delete(id: string): Promise<boolean>;
  };
  append(events: readonly UsageEvent[], bytes: number): Promise<readonly AppendOutcome[]>;
  /** Of each event the one that is durably stored under its key, if there is one. */
  findStored(events: readonly UsageEvent[]): Promise<readonly (UsageEvent | undefined)[]>;
  readonly clock: Pick<Clock, 'now'>;
}

export interface ReplayRejectedEventInput {
  readonly id: string;
  /** The corrected event, parsed JSON. Without it the kept input is tried again. */
  readonly event?: unknown;
  readonly ageMsMax: number;
  /** Says what would become of it, and stores nothing. */
  readonly dryRun?: boolean;
}

export interface ReplayRejectedEventResult {
  readonly idempotencyKey: string;
  readonly customerId: string;
  readonly outcome: 'accepted' | 'duplicate';
}

/**
 * Tries a rejected event again and removes the entry once it is stored. Stopped in between, the entry stays and the
 * next replay answers `duplicate`.
 * @throws DaemonError `rejected_event_not_found`, `rejected_event_unreadable`, `event_rejected`, `event_conflict`.
 */
export async function replayRejectedEvent(
  deps: ReplayRejectedEventDeps,
  input: ReplayRejectedEventInput,
): Promise<ReplayRejectedEventResult> {
  const entry = await deps.rejected.find(input.id);
  if (entry === null) {
    throw new DaemonError({
      kind: 'not-found',
      code: 'rejected_event_not_found',
      message: 'There is no rejected event with this id.',
    });
  }
  const value = input.event === undefined ? readKept(entry) : input.event;
  const verdict = parseUsageEvent(value, { nowMs: deps.clock.now(), ageMsMax: input.ageMsMax });
  if ('fault' in verdict) throw stillRejected(verdict.fault);
  const [outcome] = await appendOrForesee(deps, verdict.event, { bytes: Buffer.byteLength(entry.text), ...input });
  await boundary('replay.event-appended');
  const { idempotencyKey, customerId } = verdict.event;
  if (outcome === 'conflict' || outcome === undefined) {
    const [stored] = await deps.findStored([verdict.event]);
    const { detail, pointer } = conflictFault(verdict.event, stored);
    throw new DaemonError({
      kind: 'conflict',
      code: 'event_conflict',
      message: detail,
      context: { idempotencyKey, customerId, pointer },
    });
  }
  if (input.dryRun !== true) await deps.rejected.delete(input.id);
  return { idempotencyKey, customerId, outcome };
}

async function appendOrForesee(
  deps: ReplayRejectedEventDeps,
  event: UsageEvent,
  { bytes, dryRun }: { bytes: number; dryRun?: boolean },
): Promise<readonly AppendOutcome[]> {
  return dryRun === true ? foreseeOutcomes(deps, [event]) : deps.append([event], bytes);
}

function readKept(entry: { readonly text: string; readonly truncated?: boolean }): unknown {
  const json = entry.truncated === true ? undefined : parseJson(entry.text);
  if (json !== undefined && !('fault' in json) && json.isExact) return json.value;
  throw new DaemonError({
    kind: 'invalid',
    code: 'rejected_event_unreadable',
    message: 'The kept input is cut off, is not JSON, or names a field twice: send the corrected event along.',
  });
}

function stillRejected(fault: EventFault): DaemonError {
  return new DaemonError({
    kind: 'invalid',
    code: 'event_rejected',
    message: `The event is still refused (${fault.code}).`,
    context: { errors: [fault] },
  });
}

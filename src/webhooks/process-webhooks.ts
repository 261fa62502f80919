import { boundary } from '../platform/boundary.ts';
import type { Clock } from '../platform/clock.ts';
import { topicOf, type WebhookKind, type WebhookTopic } from './webhook.ts';
import { failureOf, isPassing } from '../platform/errors.ts';
import { eachInTurns } from '../platform/event-loop.ts';

/** A pending event of the inbox. */
interface Entry {
  readonly _id: string;
  readonly kind: WebhookKind;
  readonly type: string;
  readonly objectId?: string;
  readonly attempts: number;
}

export interface ProcessWebhooksDeps {
  readonly inbox: {
    due(at: Date, limit: number): Promise<readonly Entry[]>;
    finish(ids: readonly string[], at: Date): Promise<void>;
    postpone(
      entry: { _id: string; attempts: number },
      failure: { error: { code: string; message: string }; dueAt?: Date },
    ): Promise<void>;
  };
  /** What is done for each topic: with the id of the object, or of the event for a report. */
  readonly handlers: Readonly<Record<WebhookTopic, (id: string) => Promise<unknown>>>;
  /** Waits for its turn: however many events wait, others call Stripe in between. */
  pace(signal?: AbortSignal): Promise<void>;
  /** From 0 to 1. */
  random(): number;
  readonly clock: Pick<Clock, 'now'>;
  readonly log: { warn(fields: object, phrase: string): void; error(fields: object, phrase: string): void };
}

export interface ProcessWebhooksResult extends Readonly<Record<string, unknown>> {
  /** Events that were dealt with. */
  readonly done: number;
  /** Events that are tried again later, and events that are not without a person. */
  readonly postponed: number;
  readonly failed: number;
  /** Events about subscriptions, and about invoices, that were dealt with. */
  readonly subscriptions: number;
  readonly invoices: number;
}

/** Events that are taken at a time, so that those about one object are one fetch. */
const TAKEN_MAX = 50_000;
/** Objects that are fetched at the same time. */
const CONCURRENCY = 8;
/** What Stripe refuses this often has failed: about four hours. What it does not answer is tried for ever. */
const REFUSALS_MAX = 14;
const BACKOFF_MS = 5_000;
const BACKOFF_MS_MAX = 3_600_000;

/**
 * Deals with the events that are due, in any order: each handler fetches the present state of what the event is about,
 * so that all that is due about one object is one fetch, at a pace that leaves others their share. An event is done only after everything it led to is durable.
 */
export async function processWebhooks(
  deps: ProcessWebhooksDeps,
  input: { signal?: AbortSignal } = {},
): Promise<ProcessWebhooksResult> {
  const result = { done: 0, postponed: 0, failed: 0, subscriptions: 0, invoices: 0 };
  for (;;) {
    const entries = await deps.inbox.due(new Date(deps.clock.now()), TAKEN_MAX);
    const subjects = await bySubject(entries);
    if (subjects.length === 0) return result;
    for (let from = 0; from < subjects.length; from += CONCURRENCY) {
      const outcomes = await Promise.all(
        subjects.slice(from, from + CONCURRENCY).map((subject) => handle(deps, subject, input.signal)),
      );
      for (const { outcome, entries: events, topic } of outcomes) {
        result[outcome] += events;
        if (outcome === 'done' && topic === 'subscription') result.subscriptions += events;
        if (outcome === 'done' && topic === 'invoice') result.invoices += events;
      }
      // Nobody answers: the rest waits for the next ring, instead of for a time-out each.
      if (input.signal?.aborted === true || outcomes.every(({ isAway }) => isAway)) return result;
    }
  }
}

/** Events by what they are about, in the order of the first of each. */
async function bySubject(entries: readonly Entry[]): Promise<Entry[][]> {
  const subjects = new Map<string, Entry[]>();
  await eachInTurns(entries, (entry) => {
    const key = JSON.stringify(subjectOf(entry));
    const known = subjects.get(key);
    if (known === undefined) subjects.set(key, [entry]);
    else known.push(entry);
  });
  return [...subjects.values()];
}

/** What an event is about; a report is about itself. */
interface Subject {
  readonly topic?: WebhookTopic;
  readonly id: string;
}

function subjectOf(entry: Entry): Subject {
  const topic = topicOf(entry);
  if (topic === undefined) return { id: entry._id };
  return { topic, id: topic === 'error-report' ? entry._id : (entry.objectId ?? entry._id) };
}

interface Outcome {
  readonly outcome: 'done' | 'postponed' | 'failed';
  /** How many events. */
  readonly entries: number;
  readonly topic: WebhookTopic | undefined;
  /** Whether a store or Stripe did not answer. */
  readonly isAway: boolean;
}

async function handle(
  deps: ProcessWebhooksDeps,
  entries: readonly Entry[],
  signal: AbortSignal | undefined,
): Promise<Outcome> {
  const { topic, id } = subjectOf(entries[0] as Entry);
  const base = { entries: entries.length, topic, isAway: false };
  try {
    if (topic !== undefined) {
      await deps.pace(signal);
      await deps.handlers[topic](id);
    }
  } catch (error) {
    return { ...base, outcome: await putOff(deps, entries, error), isAway: isPassing(error) };
  }
  await deps.inbox.finish(
    entries.map((entry) => entry._id),
    new Date(deps.clock.now()),
  );
  await boundary('webhook.finished');
  return { ...base, outcome: 'done' };
}

/** An event stays in the inbox whatever went wrong, and says what did. */
async function putOff(
  deps: ProcessWebhooksDeps,
  entries: readonly Entry[],
  err: unknown,
): Promise<'postponed' | 'failed'> {
  const error = failureOf(err);
  let outcome: 'postponed' | 'failed' = 'postponed';
  for (const entry of entries) {
    const isLast = !isPassing(err) && entry.attempts + 1 >= REFUSALS_MAX;
    if (isLast) outcome = 'failed';
    const delayMs = Math.min(BACKOFF_MS * 2 ** entry.attempts, BACKOFF_MS_MAX) * (0.5 + deps.random());
    await deps.inbox.postpone(entry, { error, ...(!isLast && { dueAt: new Date(deps.clock.now() + delayMs) }) });
  }
  const fields = { err, type: entries[0]?.type, events: entries.map(({ _id }) => _id) };
  if (outcome === 'failed') deps.log.error(fields, 'webhook failed');
  else deps.log.warn(fields, 'webhook put off');
  return outcome;
}

import type { IngestResult } from '../../src/usage/ingest-result.ts';
import { type ApiAnswer, type ApiClient, ApiError } from './api-client.ts';
import { interrupted } from './command-error.ts';
import type { EventLine } from './event-file.ts';
import { ImportSummary } from './import-summary.ts';
import { withRetries } from './retry.ts';

export interface ImportOptions {
  /** Events in a request. */
  readonly batchSize?: number;
  readonly history?: boolean;
  /** Asks what would become of the events; nothing is stored. */
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Told after each request: how many events, from the start and without a gap, have their answer. */
  readonly onProgress?: (summary: ImportSummary, settledEvents: number) => void;
  readonly onWait?: (reason: string, waitMs: number) => void;
  /** What the answers are added to: it says what is stored also when this throws. Default: an empty one. */
  readonly summary?: ImportSummary;
}

export const BATCH_SIZE = 500;
const IN_FLIGHT_MAX = 4;
/** Well under the daemon's smallest usual limit for a body. */
const BATCH_BYTES_MAX = 900 * 1024;

/**
 * Sends events in batches with a few requests in flight. Order does not matter and sending again does no harm, so
 * anything without an answer is simply sent again.
 * When `events` ends in a failure, what came before it is sent first.
 * @throws CommandError when the daemon stays away or refuses a whole request; what `events` throws.
 */
export async function importEvents(
  api: ApiClient,
  events: AsyncIterable<EventLine>,
  options: ImportOptions = {},
): Promise<ImportSummary> {
  const summary = options.summary ?? new ImportSummary();
  const settled = new SettledPrefix();
  const inFlight = new Set<Promise<void>>();
  let failure: unknown;
  let started = 0;
  const start = (batch: readonly EventLine[]): void => {
    const first = started;
    started += batch.length;
    const settle = async (): Promise<void> => {
      try {
        await sendBatch(api, batch, { summary, options });
        settled.add(first, batch.length);
        options.onProgress?.(summary, settled.length);
      } catch (error) {
        failure ??= error;
      }
    };
    const request = settle().finally(() => inFlight.delete(request));
    inFlight.add(request);
  };
  try {
    for await (const batch of batches(events, options.batchSize ?? BATCH_SIZE)) {
      start(batch);
      if (inFlight.size >= IN_FLIGHT_MAX) await Promise.race(inFlight);
      if (failure !== undefined || options.signal?.aborted === true) break;
    }
  } catch (error) {
    failure ??= error;
  }
  await Promise.all(inFlight);
  if (options.signal?.aborted === true) throw interrupted('Run the same command again: it goes on where it stopped.');
  if (failure !== undefined) throw failure;
  return summary;
}

/** How many events from the start of the file have their answer, while answers come in any order. */
class SettledPrefix {
  length = 0;
  readonly #ahead = new Map<number, number>();

  add(first: number, count: number): void {
    this.#ahead.set(first, count);
    for (let next = this.#ahead.get(this.length); next !== undefined; next = this.#ahead.get(this.length)) {
      this.#ahead.delete(this.length);
      this.length += next;
    }
  }
}

async function* batches(events: AsyncIterable<EventLine>, size: number): AsyncGenerator<EventLine[]> {
  let batch: EventLine[] = [];
  let bytes = 0;
  try {
    for await (const event of events) {
      const length = Buffer.byteLength(event.text) + 1;
      if (batch.length >= size || (batch.length > 0 && bytes + length > BATCH_BYTES_MAX)) {
        yield batch;
        batch = [];
        bytes = 0;
      }
      batch.push(event);
      bytes += length;
    }
  } catch (error) {
    if (batch.length > 0) yield batch;
    throw error;
  }
  if (batch.length > 0) yield batch;
}

interface BatchContext {
  readonly summary: ImportSummary;
  readonly options: ImportOptions;
}

/** Sends a batch; one that is too large for the daemon's limits is halved. */
async function sendBatch(api: ApiClient, batch: readonly EventLine[], context: BatchContext): Promise<void> {
  const { options, summary } = context;
  const answer = await withRetries(
    () =>
      api.send({
        method: 'POST',
        path: '/v1/events',
        query: {
          history: options.history === true ? true : undefined,
          dryRun: options.dryRun === true ? true : undefined,
        },
        body: batch.map(({ text }) => text).join('\n'),
        mediaType: 'application/x-ndjson',
      }),
    { signal: options.signal, ...(options.onWait && { onWait: options.onWait }) },
  );
  if (answer.status === 413 && batch.length > 1) {
    const middle = Math.ceil(batch.length / 2);
    await sendBatch(api, batch.slice(0, middle), context);
    await sendBatch(api, batch.slice(middle), context);
    return;
  }
  summary.add(
    toIngestResult(answer),
    batch.map(({ line }) => line),
  );
}

/** A request of which every event was refused is answered 422, with the same body. @throws ApiError on any other. */
export function toIngestResult(answer: ApiAnswer): IngestResult {
  const { status, body } = answer;
  const isResult = typeof body === 'object' && body !== null && 'accepted' in body && 'results' in body;
  if ((status === 200 || status === 422) && isResult) return body as IngestResult;
  throw new ApiError('the events were not taken', answer);
}

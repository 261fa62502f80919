import type { ApiClient } from './api-client.ts';
import type { EventLine } from './event-file.ts';
import { importEvents, type ImportOptions } from './import-events.ts';
import { ImportSummary } from './import-summary.ts';

/** Of the events answered in an earlier run, how many are sent again: the last ones, and as many all over. */
const PROBE_LAST = 200;
const PROBE_SPREAD = 300;

export interface LedgerProbe {
  /** Whether the ledger still holds what was stored in it. */
  readonly isKnown: boolean;
  /** Which events of the file were sent again, by their index. */
  readonly sent: ReadonlySet<number>;
  /** What they came to. */
  readonly summary: ImportSummary;
}

/**
 * Asks the ledger whether it is the one that an earlier run filled, by sending a part of those events again. One that was
 * emptied, restored from an older backup, or stands now behind the same address, takes some of them as new: no mark that
 * is kept beside the ledger could say that as surely as the ledger itself.
 * @param done how many events from the start of the file were answered.
 */
export async function probeLedger(
  api: ApiClient,
  { events, done, options }: { events: AsyncIterable<EventLine>; done: number; options: ImportOptions },
): Promise<LedgerProbe> {
  const sent = probeIndexes(done);
  const summary = new ImportSummary();
  await importEvents(api, picked(events, sent, done), { ...options, summary });
  return { isKnown: summary.accepted === 0 && summary.duplicates > 0, sent, summary };
}

function probeIndexes(done: number): Set<number> {
  const indexes = new Set<number>();
  for (let step = 0; step < PROBE_SPREAD; step += 1) indexes.add(Math.floor((step * done) / PROBE_SPREAD));
  for (let index = Math.max(0, done - PROBE_LAST); index < done; index += 1) indexes.add(index);
  return indexes;
}

async function* picked(
  events: AsyncIterable<EventLine>,
  indexes: ReadonlySet<number>,
  done: number,
): AsyncGenerator<EventLine> {
  let index = 0;
  for await (const event of events) {
    if (indexes.has(index)) yield event;
    index += 1;
    if (index >= done) return;
  }
}

import type { Command } from 'commander';
import { usageError } from '../lib/command-error.ts';
import { type EventFile, type EventLine, openEventFile } from '../lib/event-file.ts';
import { EXIT, type ExitCode } from '../lib/exit-codes.ts';
import { BATCH_SIZE, importEvents } from '../lib/import-events.ts';
import { ImportState } from '../lib/import-state.ts';
import { shiftEventText } from '../lib/shift-event.ts';
import { shuffled } from '../lib/shuffle.ts';
import { createApiVerb, runVerb, type VerbContext } from '../lib/verb.ts';

interface ImportOptions {
  readonly format?: string;
  readonly shiftDays: string;
  readonly history?: boolean;
  readonly batchSize: string;
  readonly shuffleSeed?: string;
  readonly strict?: boolean;
  readonly dryRun?: boolean;
}

export function importCommand(): Command {
  return createApiVerb({
    name: 'import <file>',
    summary:
      'Import usage events from NDJSON or CSV, plain or gzip. Interrupted, the same command goes on where it stopped; ' +
      'sending events twice does no harm. Exit code 0 if anything is stored, 1 if every event was refused.',
    examples: [
      'tallystick import usage.ndjson.gz',
      'tallystick import flights-2013-11.ndjson.gz --shift-days 4735',
      'tallystick import last-year.csv --history',
    ],
  })
    .option('--format <format>', 'ndjson or csv (default: by the name)')
    .option('--shift-days <number>', 'move every occurredAt by so many days', '0')
    .option('--history', 'take events of any age (needs the scope admin)')
    .option('--batch-size <number>', 'events in a request, 1 to 1000', String(BATCH_SIZE))
    .option('--shuffle-seed <number>', 'send in a random order, the same for the same number; not resumable')
    .option('--strict', 'exit code 1 if any event was refused')
    .option('--dry-run', 'read and count the events, and send nothing')
    .action(async (file: string, options: ImportOptions, command: Command) => {
      await runVerb(command, (context) => runImport(file, options, context));
    });
}

async function runImport(path: string, options: ImportOptions, context: VerbContext): Promise<ExitCode> {
  const { output } = context;
  if (options.format !== undefined && options.format !== 'ndjson' && options.format !== 'csv') {
    throw usageError(`--format ${options.format} is not known`, 'Give ndjson or csv.');
  }
  const shiftDays = toInteger('--shift-days', options.shiftDays, { min: -40_000, max: 40_000 });
  const batchSize = toInteger('--batch-size', options.batchSize, { min: 1, max: 1_000 });
  const file = await openEventFile(path, options.format);
  if (options.dryRun === true) {
    const events = await countEvents(file);
    output.result({ dryRun: true, events }, () => `would send ${events} events`);
    return EXIT.ok;
  }
  const api = context.api();
  const seed = options.shuffleSeed === undefined ? undefined : toInteger('--shuffle-seed', options.shuffleSeed);
  const state =
    seed === undefined ? await ImportState.of(path, [api.url, String(shiftDays), String(options.history)]) : undefined;
  const done = (await state?.load()) ?? 0;
  if (done > 0) output.note(`going on after ${done} events that were answered before`);
  const source = seed === undefined ? file.lines() : shuffled(file.lines(), seed);
  const progress = output.progress('importing', file.bytes);
  let settled = done;
  try {
    const summary = await importEvents(api, prepared(source, { skip: done, shiftDays }), {
      batchSize,
      history: options.history === true,
      signal: context.signal,
      onProgress: ({ sent }, settledEvents) => {
        settled = done + settledEvents;
        progress.update(file.bytesRead(), `${done + sent} events`);
        void state?.save(settled);
      },
      onWait: (reason, waitMs) => {
        progress.clear();
        output.note(`${reason}; sending again in ${(waitMs / 1000).toFixed(1)} s`);
      },
    });
    progress.clear();
    await state?.remove();
    output.result({ ...summary.toJSON(), skipped: done }, () => summary.toText());
    const isRefused = summary.isAllRefused || (options.strict === true && summary.conflicts + summary.rejected > 0);
    return isRefused ? EXIT.failure : EXIT.ok;
  } catch (error) {
    progress.clear();
    if (settled > 0) await state?.save(settled, true);
    throw error;
  }
}

async function* prepared(
  events: AsyncIterable<EventLine>,
  { skip, shiftDays }: { skip: number; shiftDays: number },
): AsyncGenerator<EventLine> {
  let index = 0;
  for await (const { line, text } of events) {
    index += 1;
    if (index > skip) yield { line, text: shiftEventText(text, shiftDays) };
  }
}

async function countEvents(file: EventFile): Promise<number> {
  let count = 0;
  for await (const _event of file.lines()) count += 1;
  return count;
}

function toInteger(
  option: string,
  text: string,
  bounds: { min: number; max: number } = { min: 0, max: 2 ** 32 - 1 },
): number {
  const value = /^-?\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= bounds.min && value <= bounds.max) return value;
  throw usageError(`${option} ${text} is not possible`, `Give a whole number from ${bounds.min} to ${bounds.max}.`);
}

import { type Command, Option } from 'commander';
import type { ApiClient } from '../lib/api-client.ts';
import { usageError } from '../lib/command-error.ts';
import type { CsvDelimiter } from '../lib/csv.ts';
import { type EventFile, type EventLine, openEventFile } from '../lib/event-file.ts';
import { EXIT, type ExitCode } from '../lib/exit-codes.ts';
import { parseFieldMap } from '../lib/field-map.ts';
import { BATCH_SIZE, importEvents, type ImportOptions } from '../lib/import-events.ts';
import { probeLedger } from '../lib/import-probe.ts';
import { ImportState } from '../lib/import-state.ts';
import { ImportSummary } from '../lib/import-summary.ts';
import { KeyWatch } from '../lib/key-watch.ts';
import { renderSuspects, suspectsToJson } from '../lib/suspect-keys.ts';
import { shiftEventText } from '../lib/shift-event.ts';
import { shuffled } from '../lib/shuffle.ts';
import { createApiVerb, runVerb, type VerbContext } from '../lib/verb.ts';

interface ImportFlags {
  readonly format?: 'ndjson' | 'csv';
  readonly delimiter?: keyof typeof DELIMITERS;
  readonly map: readonly string[];
  readonly shiftDays: string;
  readonly history?: boolean;
  readonly batchSize: string;
  readonly shuffleSeed?: string;
  readonly restart?: boolean;
  readonly strict?: boolean;
  readonly dryRun?: boolean;
}

/** By the names under which a shell can hand them over. */
const DELIMITERS = { ',': ',', ';': ';', tab: '\t', '|': '|' } as const satisfies Record<string, CsvDelimiter>;

export function importCommand(): Command {
  return createApiVerb({
    name: 'import <file>',
    summary:
      'Import usage events from NDJSON or CSV, plain or gzip. Interrupted, the same command goes on where it stopped; ' +
      'sending events twice does no harm. Exit code 0 if anything is stored, 1 if every event was refused or the file ' +
      'could not be read to its end.',
    examples: [
      'tallystick import usage.ndjson.gz',
      'tallystick import flights-2013-11.ndjson.gz --shift-days 4735',
      'tallystick import last-year.csv --history',
      'tallystick import calls.csv --map customerId=account --map occurredAt=created:unix ' +
        '--map eventType:=call --map quantity:=1',
    ],
  })
    .addOption(new Option('--format <format>', 'default: by the name').choices(['ndjson', 'csv']))
    .addOption(
      new Option('--delimiter <character>', 'between cells of CSV (default: by the first line)').choices(
        Object.keys(DELIMITERS),
      ),
    )
    .option(
      '--map <rule>',
      'field=column, field=column:unix (:unixms, :postgres, :utc) or field:=constant; once for each field',
      (rule: string, rules: readonly string[]) => [...rules, rule],
      [],
    )
    .option('--shift-days <number>', 'move every occurredAt by so many days', '0')
    .option('--history', 'take events of any age (needs the scope admin)')
    .option('--batch-size <number>', 'events in a request, 1 to 1000', String(BATCH_SIZE))
    .option('--shuffle-seed <number>', 'send in a random order, the same for the same number; not resumable')
    .option('--restart', 'begin at the beginning, also when an earlier import of the file was interrupted')
    .option('--strict', 'exit code 1 if any event was refused, or any idempotency key looks wrong')
    .option('--dry-run', 'ask the daemon what would become of the events, and store nothing')
    .action(async (file: string, flags: ImportFlags, command: Command) => {
      await runVerb(command, (context) => runImport(file, flags, context));
    });
}

/** What one import is made of. */
interface Import {
  readonly context: VerbContext;
  readonly api: ApiClient;
  readonly file: EventFile;
  readonly shiftDays: number;
  /** Undefined: in the order of the file. */
  readonly seed: number | undefined;
  readonly sending: ImportOptions;
}

async function runImport(path: string, flags: ImportFlags, context: VerbContext): Promise<ExitCode> {
  const shiftDays = toInteger('--shift-days', flags.shiftDays, { min: -40_000, max: 40_000 });
  const batchSize = toInteger('--batch-size', flags.batchSize, { min: 1, max: 1_000 });
  const seed = flags.shuffleSeed === undefined ? undefined : toInteger('--shuffle-seed', flags.shuffleSeed);
  const file = await openFile(path, flags, context);
  const sending = { batchSize, history: flags.history === true, signal: context.signal };
  const api = context.api();
  if (flags.dryRun === true) return dryRun({ api, file, context, shiftDays, sending });
  const ways = [api.url, flags.shiftDays, String(flags.history), String(flags.format), String(flags.delimiter)];
  const state =
    seed === undefined
      ? await ImportState.of(path, [...ways, ...flags.map], (error) => {
          const reason = error instanceof Error ? error.message : String(error);
          context.output.note(`how far it came cannot be kept (${reason}): interrupted, it would begin anew`);
        })
      : undefined;
  if (flags.restart === true) await state?.remove();
  const outcome = await sendFile({ context, api, file, shiftDays, seed, sending }, state);
  return report(outcome, flags.strict === true, context);
}

async function openFile(path: string, flags: ImportFlags, { output }: VerbContext): Promise<EventFile> {
  let isTold = false;
  return openEventFile(path, {
    format: flags.format,
    delimiter: flags.delimiter === undefined ? undefined : DELIMITERS[flags.delimiter],
    map: parseFieldMap(flags.map),
    onIgnored: (columns) => {
      if (!isTold) output.note(`columns that are not imported: ${columns.join(', ')}`);
      isTold = true;
    },
  });
}

interface Outcome {
  readonly summary: ImportSummary;
  /** Events that an earlier run sent. */
  readonly skipped: number;
  readonly keys: KeyWatch;
  /** Why the import ended early. */
  readonly failure?: unknown;
}

/** Sends what an earlier run has not sent. A failure is part of the outcome, with what was stored before it. */
async function sendFile(work: Import, state: ImportState | undefined): Promise<Outcome> {
  const { context, api, file } = work;
  const { output } = context;
  const progress = output.progress('importing', file.bytes);
  const sending: ImportOptions = {
    ...work.sending,
    onWait: (reason, waitMs) => {
      progress.clear();
      output.note(`${reason}; sending again in ${(waitMs / 1000).toFixed(1)} s`);
    },
  };
  let summary = new ImportSummary();
  const keys = new KeyWatch();
  let skipped = 0;
  let settled = 0;
  try {
    const resumed = await findStart(work, sending, (await state?.load()) ?? 0);
    ({ skipped, summary } = resumed);
    settled = skipped;
    await importEvents(api, prepared(work, { ...resumed, keys }), {
      ...sending,
      summary,
      onProgress: ({ sent }, settledEvents) => {
        settled = skipped + settledEvents;
        progress.update(file.bytesRead(), `${skipped + sent} events`);
        void state?.save(settled);
      },
    });
    progress.clear();
    await state?.remove();
    return { summary, skipped, keys };
  } catch (failure) {
    progress.clear();
    if (settled > 0) await state?.save(settled, true);
    return { summary, skipped, keys, failure };
  }
}

interface Start {
  /** So many events from the start of the file are not sent again. */
  readonly skipped: number;
  /** Nor are these, by their index: they were sent to find that out. */
  readonly sent: ReadonlySet<number>;
  readonly summary: ImportSummary;
}

/** Where an import begins: behind what an earlier run stored, if the ledger still holds that. */
async function findStart(
  { context, api, file, shiftDays }: Import,
  options: ImportOptions,
  done: number,
): Promise<Start> {
  if (done === 0) return { skipped: 0, sent: new Set(), summary: new ImportSummary() };
  const probe = await probeLedger(api, { events: shifted(file.lines(), shiftDays), done, options });
  if (probe.isKnown) {
    context.output.note(`going on after ${done} events that were answered before`);
    return { skipped: done, sent: new Set(), summary: new ImportSummary() };
  }
  context.output.note(
    `an earlier import of this file sent ${done} events, which this ledger does not hold (emptied or restored?): ` +
      'beginning anew',
  );
  return { skipped: 0, sent: probe.sent, summary: probe.summary };
}

async function* prepared(
  { file, seed, shiftDays }: Import,
  { skipped, sent, keys }: Start & { keys: KeyWatch },
): AsyncGenerator<EventLine> {
  const lines = seed === undefined ? file.lines() : shuffled(file.lines(), seed);
  let index = -1;
  for await (const event of shifted(lines, shiftDays)) {
    index += 1;
    keys.add(event.line, event.text);
    if (index >= skipped && !sent.has(index)) yield event;
  }
}

async function* shifted(events: AsyncIterable<EventLine>, shiftDays: number): AsyncGenerator<EventLine> {
  for await (const { line, text } of events) yield { line, text: shiftEventText(text, shiftDays) };
}

function report({ summary, skipped, keys, failure }: Outcome, isStrict: boolean, { output }: VerbContext): ExitCode {
  const suspects = suspectsToJson(keys);
  if (failure === undefined || summary.sent > 0) {
    const isComplete = failure === undefined;
    output.result({ ...summary.toJSON(), ...suspects, skipped, isComplete }, () =>
      summary.sent === 0 && skipped === 0
        ? 'the file holds no events'
        : [
            `${isComplete ? '' : 'so far: '}${summary.toText()}`,
            ...(skipped > 0 ? [`  ${skipped} events were answered in an earlier run`] : []),
            ...renderSuspects(keys),
          ].join('\n'),
    );
  }
  if (failure !== undefined) throw failure;
  if (summary.advice !== undefined) output.note(summary.advice);
  const isDoubtful = summary.conflicts + summary.rejected + keys.repeated.count + keys.shortened.count > 0;
  return summary.isAllRefused || (isStrict && isDoubtful) ? EXIT.failure : EXIT.ok;
}

/** Asks the daemon what would become of each event; nothing is stored, and nothing is kept of how far it came. */
async function dryRun({ api, file, context, shiftDays, sending }: Omit<Import, 'seed'>): Promise<ExitCode> {
  const keys = new KeyWatch();
  let events = 0;
  let first: string | undefined;
  const looked = async function* (): AsyncGenerator<EventLine> {
    for await (const event of shifted(file.lines(), shiftDays)) {
      events += 1;
      first ??= event.text;
      keys.add(event.line, event.text);
      yield event;
    }
  };
  const summary = await importEvents(api, looked(), { ...sending, dryRun: true });
  const { accepted, duplicates, conflicts, rejected } = summary;
  const refusals = summary.refusals();
  const counts = { accepted, duplicates, conflicts, rejected, refusals };
  context.output.result({ dryRun: true, events, first, ...counts, ...suspectsToJson(keys) }, () =>
    [
      `would send ${events} ${events === 1 ? 'event' : 'events'}: ${summary.toText()}`,
      ...(first === undefined ? [] : [`  the first: ${first}`]),
      ...renderSuspects(keys),
    ].join('\n'),
  );
  return EXIT.ok;
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

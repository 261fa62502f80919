import { type Command, Option } from 'commander';
import { usageError } from '../lib/command-error.ts';
import { daysOf } from '../lib/explained-days.ts';
import { type Explanation, renderExplanation } from '../lib/explanation.ts';
import { fetchExplanation, fetchInvoice, renderInvoice } from '../lib/explained-invoice.ts';
import { renderExplanationCsv } from '../lib/explanation-csv.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

interface ExplainOptions {
  readonly customer?: string;
  readonly meter?: string;
  readonly invoice?: string;
  readonly from?: string;
  readonly to?: string;
  readonly period?: string;
  readonly hour?: string;
  readonly by?: string;
  readonly limit?: string;
  readonly facts?: boolean;
  readonly all?: boolean;
  readonly csv?: boolean;
  readonly json?: boolean;
}

const FACTS_DEFAULT = 1_000;

export function explainCommand(): Command {
  return createApiVerb({
    name: 'explain',
    summary:
      'From a billed quantity down to the facts: the meter events that it is made of and what Stripe said to them, the ' +
      'windows behind them, and with --hour the raw facts of an hour.',
    examples: [
      'tallystick explain --customer acme --meter api_calls --from 2026-11-01 --to 2026-12-01',
      'tallystick explain --customer acme --meter api_calls --hour 2026-11-20T07:00:00Z',
      'tallystick explain --customer acme --meter api_calls --period previous --by day',
      'tallystick explain --invoice in_1PgafmB7WZ01zgkW6dKueIc5 --by day',
      'tallystick explain --customer acme --meter api_calls --csv --facts > api_calls.csv',
    ],
  })
    .option('--customer <id>', 'whose usage; with --meter')
    .option('--meter <key>', 'the meter')
    .option('--invoice <id>', 'all usage that an invoice of Stripe bills, instead of --customer, --meter and a range')
    .option(
      '--from <instant>',
      'from this day or instant on (RFC 3339); with --to. Default: the current billing period',
    )
    .option('--to <instant>', 'before this day or instant')
    .option('--period <name>', 'current or previous billing period, instead of --from and --to')
    .option('--hour <instant>', 'with the raw facts of the hour that holds this instant; alone: in its billing period')
    .addOption(
      new Option('--by <unit>', 'hour: every window; day: the windows of a day in UTC together')
        .choices(['hour', 'day'])
        .default('hour'),
    )
    .option('--limit <number>', `how many raw facts at most (default: ${FACTS_DEFAULT}; with --csv all)`)
    .option('--all', 'every row of every table')
    .option('--csv', 'print rows as CSV, one level after the other')
    .option('--facts', 'with --csv: only the raw facts, whose quantities add up to what was used')
    .action(async (options: ExplainOptions, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        if (options.csv === true && options.json === true)
          throw usageError('--csv and --json exclude each other', 'Give one.');
        const byDay = options.by === 'day';
        const limit = checkedLimit(options);
        const show = { all: options.all === true, facts: options.hour !== undefined, byDay };
        const csv = (of: readonly Explanation[]): string =>
          renderExplanationCsv(of, { byDay, isFactsOnly: options.facts === true });
        const shown = (of: Explanation): Explanation => (byDay ? { ...of, days: daysOf(of) } : of);
        if (options.invoice !== undefined) {
          const invoice = await fetchInvoice(api(), options.invoice, { ...options, limit });
          const explanations = invoice.explanations.map(shown);
          output.result({ ...invoice, explanations }, () =>
            options.csv === true ? csv(explanations) : renderInvoice(invoice, show),
          );
          return;
        }
        const explanation = await fetchExplanation(api(), { ...options, ...pairOf(options), limit });
        output.result(shown(explanation), () =>
          options.csv === true ? csv([explanation]) : renderExplanation(explanation, show),
        );
      });
    });
}

/** @throws CommandError for what cannot be asked for together. */
function checkedLimit(options: ExplainOptions): number {
  const { invoice, hour, customer, meter, from, to, period } = options;
  if (options.by === 'day' && hour !== undefined)
    throw usageError('--by day and --hour exclude each other', 'Give one: an hour has no days.');
  const others = Object.entries({ customer, meter, from, to, period, hour }).filter(([, value]) => value !== undefined);
  if (invoice !== undefined && others.length > 0) {
    const named = others.map(([name]) => `--${name}`).join(', ');
    throw usageError(`--invoice and ${named} exclude each other`, 'The invoice says whose usage, and of when.');
  }
  if (options.facts === true && options.csv !== true) throw usageError('--facts is for --csv', 'Give both.');
  if (options.limit === undefined) return options.csv === true ? Infinity : FACTS_DEFAULT;
  const limit = /^[1-9]\d{0,6}$/.test(options.limit) ? Number(options.limit) : undefined;
  if (limit === undefined)
    throw usageError(`--limit ${options.limit} is not possible`, 'Give a whole number from 1 on.');
  return limit;
}

function pairOf({ customer, meter }: ExplainOptions): { customer: string; meter: string } {
  if (customer !== undefined && meter !== undefined) return { customer, meter };
  throw usageError('it is not said what to explain', 'Give --customer and --meter, or --invoice.');
}

import { type Command, Option } from 'commander';
import { usageError } from '../lib/command-error.ts';
import { daysOf } from '../lib/explained-days.ts';
import { type Explanation, type ExplainedFact, renderExplanation } from '../lib/explanation.ts';
import { renderExplanationCsv } from '../lib/explanation-csv.ts';
import type { ApiClient } from '../lib/api-client.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

interface ExplainOptions {
  readonly customer: string;
  readonly meter: string;
  readonly from?: string;
  readonly to?: string;
  readonly period?: string;
  readonly hour?: string;
  readonly by?: string;
  readonly limit: string;
  readonly all?: boolean;
  readonly csv?: boolean;
  readonly json?: boolean;
}

const FACTS_DEFAULT = '1000';
const FACTS_PER_PAGE = 1_000;

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
      'tallystick explain --customer acme --meter api_calls --csv > api_calls.csv',
    ],
  })
    .requiredOption('--customer <id>', 'whose usage')
    .requiredOption('--meter <key>', 'the meter')
    .option(
      '--from <instant>',
      'from this day or instant on (RFC 3339); with --to. Default: the current billing period',
    )
    .option('--to <instant>', 'before this day or instant')
    .option('--period <name>', 'current or previous billing period, instead of --from and --to')
    .option('--hour <instant>', 'with the raw facts of the hour that holds this instant')
    .addOption(
      new Option('--by <unit>', 'hour: every window; day: the windows of a day in UTC together')
        .choices(['hour', 'day'])
        .default('hour'),
    )
    .option('--limit <number>', 'how many raw facts at most', FACTS_DEFAULT)
    .option('--all', 'every row of every table')
    .option('--csv', 'print rows as CSV, one level after the other')
    .action(async (options: ExplainOptions, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        if (options.csv === true && options.json === true)
          throw usageError('--csv and --json exclude each other', 'Give one.');
        const byDay = options.by === 'day';
        if (byDay && options.hour !== undefined)
          throw usageError('--by day and --hour exclude each other', 'Give one: an hour has no days.');
        const explanation = await fetchExplanation(api(), options);
        const show = { all: options.all === true, facts: options.hour !== undefined, byDay };
        output.result(byDay ? { ...explanation, days: daysOf(explanation) } : explanation, () =>
          options.csv === true ? renderExplanationCsv([explanation], show) : renderExplanation(explanation, show),
        );
      });
    });
}

/** A day stands for its first instant in UTC. */
function toInstant(text: string | undefined): string | undefined {
  return text !== undefined && /^\d{4}-\d{2}-\d{2}$/.test(text) ? `${text}T00:00:00Z` : text;
}

/** With an hour, or as CSV, the pages of facts are put together, up to the limit. */
async function fetchExplanation(api: ApiClient, options: ExplainOptions): Promise<Explanation> {
  const limit = /^[1-9]\d{0,6}$/.test(options.limit) ? Number(options.limit) : undefined;
  if (limit === undefined)
    throw usageError(`--limit ${options.limit} is not possible`, 'Give a whole number from 1 on.');
  const path = `/v1/customers/${encodeURIComponent(options.customer)}/explain`;
  const { meter, period, hour } = options;
  const [from, to] = [toInstant(options.from), toInstant(options.to)];
  const query = { meter, from, to, period, hour };
  const first = await api.get<Explanation>(path, { ...query, limit: Math.min(limit, FACTS_PER_PAGE) });
  const data: ExplainedFact[] = [...first.facts.data];
  let { nextCursor } = first.facts;
  const wanted = hour !== undefined || options.csv === true ? limit : 0;
  while (nextCursor !== null && data.length < wanted) {
    // The range that was explained, and not the one asked for: a billing period can end between two pages.
    const next = { meter, from: first.from, to: first.to, hour, cursor: nextCursor };
    const page = await api.get<Explanation>(path, { ...next, limit: Math.min(limit - data.length, FACTS_PER_PAGE) });
    data.push(...page.facts.data);
    nextCursor = page.facts.nextCursor;
  }
  return { ...first, facts: { ...first.facts, data, nextCursor, hasMore: nextCursor !== null } };
}

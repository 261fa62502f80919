import type { Command } from 'commander';
import type { JobInput } from '../../src/daemon/job-input.ts';
import { parseStatedPeriod } from '../../src/aggregation/stated-period.ts';
import { DaemonError } from '../../src/platform/errors.ts';
import { usageError } from '../lib/command-error.ts';
import { EXIT } from '../lib/exit-codes.ts';
import { followJob } from '../lib/follow-run.ts';
import { renderTable } from '../lib/table.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

/** The result of the job `verify-usage`. */
interface Verification {
  readonly from: string;
  readonly to: string;
  readonly customers: number;
  readonly windows: number;
  readonly groups: number;
  readonly periods: number;
  readonly facts: number;
  readonly waiting: number;
  readonly differing: number;
  readonly differences: readonly Difference[];
  readonly hash: string;
}

interface Difference {
  readonly kind: string;
  readonly customerId: string;
  readonly meter: string;
  readonly from: string;
  readonly group?: string;
  readonly stored: { readonly quantity: string; readonly eventCount: number };
  readonly raw: { readonly quantity: string; readonly eventCount: number };
}

export function verifyCommand(): Command {
  return createApiVerb({
    name: 'verify',
    summary:
      'Derive every figure of a period, and every group of its windows, again from raw facts, hold what is stored ' +
      'against it, and print a hash of the figures: the same facts always give the same. Changes nothing. Exit code 5 ' +
      'when they differ.',
    examples: [
      'tallystick verify --period 2026-11',
      'tallystick verify --period 2026-11-01..2026-11-08 --customer acme',
    ],
  })
    .requiredOption('--period <period>', 'a UTC month like 2026-11, or from..to (days, or RFC 3339 instants)')
    .option('--customer <id>', 'one customer')
    .action(async (options: { period: string; customer?: string }, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const input = toInput(options);
        const { result } = await followJob({ api: api(), output }, { job: 'verify-usage', input });
        const found = result as unknown as Verification;
        output.result(found, () => render(found));
        return found.differing > 0 ? EXIT.driftFound : EXIT.ok;
      });
    });
}

function toInput({ period, customer }: { period: string; customer?: string }): JobInput<'verify-usage'> {
  try {
    parseStatedPeriod(period);
  } catch (error) {
    if (!(error instanceof DaemonError)) throw error;
    throw usageError(`--period ${period} is not possible`, error.message);
  }
  return { period, ...(customer !== undefined && { customerId: customer }) };
}

function render(found: Verification): string {
  const { from, to, customers, windows, groups, periods, facts, waiting, differing, differences, hash } = found;
  const lines = [
    `${from} to ${to}`,
    `${windows} windows and ${periods} running figures of ${customers} customers, from ${facts} counted facts`,
    ...(groups > 0 ? [`${groups} groups of those windows`] : []),
    ...(waiting > 0 ? [`${waiting} figures wait to be derived (tallystick aggregate)`] : []),
    differing === 0 ? 'equal to what is stored' : `${differing} differ from what is stored`,
    hash,
  ];
  if (differing === 0) return lines.join('\n');
  const hasGroups = differences.some(({ group }) => group !== undefined);
  const table = renderTable(
    [
      ...['customer', 'meter', 'of', 'from', ...(hasGroups ? ['group'] : [])].map((heading) => ({ heading })),
      ...['stored', 'facts', 'raw', 'facts'].map((heading) => ({ heading, align: 'right' as const })),
    ],
    differences.map(({ customerId, meter, kind, from: start, group, stored, raw }) => {
      const figures = [stored.quantity, String(stored.eventCount), raw.quantity, String(raw.eventCount)];
      return [customerId, meter, kind, start, ...(hasGroups ? [group] : []), ...figures];
    }),
  );
  const rest = differing - differences.length;
  return [...lines, '', table, ...(rest > 0 ? [`… and ${rest} more`] : [])].join('\n');
}

import { Command, Option } from 'commander';
import { SUBMISSION_STATES } from '../../src/submissions/submission.ts';
import { LIMIT_DEFAULT, moreRows, readListLimit, takeRows } from '../lib/list-option.ts';
import { renderTable } from '../lib/table.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

/** A submission as `GET /v1/submissions` gives it. */
interface Submission {
  readonly identifier: string;
  readonly customerId: string;
  readonly meter: string;
  readonly value: string;
  readonly timestamp: string;
  readonly state: string;
  readonly reason?: string;
  readonly message?: string;
  readonly attempts: number;
  readonly dueAt?: string;
  readonly stripeCustomerId?: string;
  readonly stripeMeterId?: string;
  readonly firstAttemptAt?: string;
  readonly lastAttemptAt?: string;
  readonly acceptedAt?: string;
  readonly replacedBy?: string;
  readonly replaces?: string;
  readonly plannedAt: string;
  readonly history: readonly {
    readonly at: string;
    readonly change: string;
    readonly reason?: string;
    readonly actor?: string;
  }[];
}

interface ListOptions {
  readonly state?: string;
  readonly customer?: string;
  readonly meter?: string;
  readonly limit: number;
}

export function submissionsCommand(): Command {
  return new Command('submissions')
    .description('The outbox: meter events planned, sent and refused, with attempts and reasons.')
    .addHelpText('after', '\nExample:\n  $ tallystick submissions list --state rejected')
    .addCommand(listCommand())
    .addCommand(showCommand());
}

function listCommand(): Command {
  return createApiVerb({
    name: 'list',
    summary: 'List submissions in order of identifier.',
    examples: ['tallystick submissions list --state blocked', 'tallystick submissions list --customer acme --json'],
  })
    .addOption(new Option('--state <state>', 'only those in this state').choices([...SUBMISSION_STATES]))
    .option('--customer <id>', 'only those of this customer')
    .option('--meter <key>', 'only those of this meter')
    .option('--limit <number>', 'how many at most', readListLimit, LIMIT_DEFAULT)
    .action(async ({ state, customer, meter, limit }: ListOptions, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const query = { state, customerId: customer, meter };
        const found = await takeRows(api().list<Submission>('/v1/submissions', query), limit);
        output.result(found.rows, () => `${renderList(found.rows)}${moreRows(found, limit)}`);
      });
    });
}

function renderList(found: readonly Submission[]): string {
  return renderTable(
    [
      { heading: 'identifier' },
      { heading: 'customer' },
      { heading: 'meter' },
      { heading: 'value', align: 'right' },
      { heading: 'used' },
      { heading: 'state' },
      { heading: 'why' },
      { heading: 'attempts', align: 'right' },
    ],
    found.map(({ identifier, customerId, meter, value, timestamp, state, reason, attempts }) => [
      identifier,
      customerId,
      meter,
      value,
      timestamp,
      state,
      reason,
      String(attempts),
    ]),
  );
}

function showCommand(): Command {
  return createApiVerb({
    name: 'show <identifier>',
    summary: 'Show one submission with everything that happened to it.',
    examples: ['tallystick submissions show ab12cd34:acme:api_calls:w20261121T05:1'],
  }).action(async (identifier: string, _options: object, command: Command) => {
    await runVerb(command, async ({ api, output }) => {
      const found = await api().get<Submission>(`/v1/submissions/${encodeURIComponent(identifier)}`);
      output.result(found, () => renderOne(found));
    });
  });
}

function renderOne({ history, ...submission }: Submission): string {
  const fields = Object.entries(submission).filter(([, value]) => typeof value !== 'object');
  const width = Math.max(...fields.map(([name]) => name.length));
  const lines = fields.map(([name, value]) => `${name.padEnd(width)}  ${String(value)}`);
  if (history.length === 0) return lines.join('\n');
  const table = renderTable(
    ['at', 'change', 'why', 'by'].map((heading) => ({ heading })),
    history.map(({ at, change, reason, actor }) => [at, change, reason, actor]),
  );
  return `${lines.join('\n')}\n\n${table}`;
}

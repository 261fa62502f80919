import { Command, Option } from 'commander';
import { LIMIT_DEFAULT, moreRows, readListLimit, takeRows } from '../lib/list-option.ts';
import { renderTable } from '../lib/table.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

/** An event as `GET /v1/stripe/inbox` gives it. */
interface InboxEntry {
  readonly eventId: string;
  readonly type: string;
  readonly objectId?: string;
  readonly receivedAt: string;
  readonly source: string;
  readonly state: string;
  readonly attempts: number;
  readonly outcome?: string;
  readonly error?: { readonly code: string; readonly message: string };
}

export function inboxCommand(): Command {
  return new Command('inbox')
    .description('The events that Stripe told us of, and what became of them.')
    .addHelpText('after', '\nExample:\n  $ tallystick inbox list --state failed')
    .addCommand(listCommand())
    .addCommand(retryCommand());
}

function listCommand(): Command {
  return createApiVerb({
    name: 'list',
    summary: 'List the events of Stripe, newest first.',
    examples: ['tallystick inbox list --state failed', 'tallystick inbox list --json --limit 1000'],
  })
    .addOption(new Option('--state <state>', 'only those in this state').choices(['pending', 'done', 'failed']))
    .option('--limit <number>', 'how many at most', readListLimit, LIMIT_DEFAULT)
    .action(async ({ state, limit }: { state?: string; limit: number }, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const found = await takeRows(api().list<InboxEntry>('/v1/stripe/inbox', { state }), limit);
        output.result(found.rows, () => `${render(found.rows)}${moreRows(found, limit)}`);
      });
    });
}

function render(found: readonly InboxEntry[]): string {
  return renderTable(
    ['event', 'type', 'object', 'received', 'state', 'outcome'].map((heading) => ({ heading })),
    found.map(({ eventId, type, objectId, receivedAt, state, outcome, error }) => {
      const ended = error === undefined ? outcome : `${error.code}: ${error.message}`;
      return [eventId, type, objectId, receivedAt, state, ended];
    }),
  );
}

function retryCommand(): Command {
  return createApiVerb({
    name: 'retry <event>',
    summary: 'Try a failed event of Stripe again.',
    examples: ['tallystick inbox retry evt_1PgafmB7WZ01zgkW6dKueIc5'],
  })
    .option('--dry-run', 'show what would be asked for and change nothing')
    .action(async (eventId: string, { dryRun }: { dryRun?: boolean }, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        if (dryRun === true) {
          output.result({ dryRun, eventId }, () => `would try ${eventId} again if it has failed`);
          return;
        }
        const path = `/v1/stripe/inbox/${encodeURIComponent(eventId)}/retry`;
        const entry = await api().call<{ eventId: string; state: string }>({ method: 'POST', path });
        output.result(entry, () => `${entry.eventId}: ${entry.state}`);
      });
    });
}

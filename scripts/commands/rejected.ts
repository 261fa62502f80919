import { Command } from 'commander';
import { readJsonArgument } from '../lib/json-argument.ts';
import { LIMIT_DEFAULT, moreRows, readListLimit, takeRows } from '../lib/list-option.ts';
import { renderTable } from '../lib/table.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

interface RejectedEvent {
  readonly id: string;
  readonly text: string;
  readonly idempotencyKey: string | null;
  readonly customerId: string | null;
  readonly code: string;
  readonly detail: string;
  readonly pointer: string;
  readonly count: number;
  readonly lastAt: string;
}

const TEXT_SHOWN = 200;

export function rejectedCommand(): Command {
  return new Command('rejected')
    .description('Events that broke a rule: list them, try them again, or delete them.')
    .addHelpText('after', '\nExample:\n  $ tallystick rejected list --code event_too_old')
    .addCommand(listCommand())
    .addCommand(replayCommand())
    .addCommand(deleteCommand());
}

function listCommand(): Command {
  return createApiVerb({
    name: 'list',
    summary: 'List rejected events, newest first.',
    examples: ['tallystick rejected list', 'tallystick rejected list --json --limit 1000'],
  })
    .option('--code <code>', 'only those refused for this reason')
    .option('--limit <number>', 'how many at most', readListLimit, LIMIT_DEFAULT)
    .action(async ({ code, limit }: { code?: string; limit: number }, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const found = await takeRows(api().list<RejectedEvent>('/v1/rejected-events', { code }), limit);
        output.result(found.rows, () => `${render(found.rows)}${moreRows(found, limit)}`);
      });
    });
}

function render(found: readonly RejectedEvent[]): string {
  return renderTable(
    ['id', 'customer', 'idempotencyKey', 'why', 'field', 'last', 'what came'].map((heading) => ({ heading })),
    found.map(({ id, customerId, idempotencyKey, detail, pointer, lastAt, text }) => {
      return [id, customerId ?? undefined, idempotencyKey ?? undefined, detail, pointer, lastAt, shorten(text)];
    }),
  );
}

/** What came, as JSON text: whoever corrects it has to see it. `--json` has all of it. */
function shorten(text: string): string {
  return text.length > TEXT_SHOWN ? `${text.slice(0, TEXT_SHOWN)}…` : text;
}

function deleteCommand(): Command {
  return createApiVerb({
    name: 'delete <id>',
    summary: 'Delete a rejected event that nobody will correct; it is gone for good.',
    examples: ['tallystick rejected delete 7c2e…'],
  })
    .option('--dry-run', 'show what would be deleted and delete nothing')
    .action(async (id: string, { dryRun }: { dryRun?: boolean }, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const path = `/v1/rejected-events/${encodeURIComponent(id)}`;
        await api().call({ method: 'DELETE', path, query: { dryRun } });
        if (dryRun === true) return output.result({ dryRun, id }, () => `would delete the rejected event ${id}`);
        output.result({ id, deleted: true }, () => `${id}: deleted`);
      });
    });
}

function replayCommand(): Command {
  return createApiVerb({
    name: 'replay <id>',
    summary: 'Try a rejected event again, as it was or corrected; it leaves the list once it is stored.',
    examples: ['tallystick rejected replay 7c2e…', 'tallystick rejected replay 7c2e… --event @corrected.json'],
  })
    .option('--event <json>', 'the corrected event: JSON as text, @file or -')
    .option('--history', 'take it however old it is')
    .option('--dry-run', 'show what would be sent and send nothing')
    .action(async (id: string, options: { event?: string; history?: boolean; dryRun?: boolean }, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const event = options.event === undefined ? undefined : await readJsonArgument(options.event);
        const request = {
          method: 'POST' as const,
          path: `/v1/rejected-events/${encodeURIComponent(id)}/replay`,
          query: { history: options.history === true ? true : undefined, dryRun: options.dryRun },
          body: event === undefined ? {} : { event },
        };
        const replayed = await api().call<{ idempotencyKey: string; customerId: string; outcome: string }>(request);
        const would = options.dryRun === true ? 'would be ' : '';
        output.result(
          { ...(would !== '' && { dryRun: true }), ...replayed },
          () => `${would}${replayed.outcome}: ${replayed.idempotencyKey} of ${replayed.customerId}`,
        );
      });
    });
}

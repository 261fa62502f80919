import { createHash } from 'node:crypto';
import type { Command } from 'commander';
import { usageError } from '../lib/command-error.ts';
import { LIMIT_DEFAULT, moreRows, readListLimit, takeRows } from '../lib/list-option.ts';
import { renderTable } from '../lib/table.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

interface AdjustOptions {
  readonly customer?: string;
  readonly meter?: string;
  readonly quantity?: string;
  readonly at?: string;
  readonly reason?: string;
  readonly actor?: string;
  readonly key?: string;
  readonly history?: boolean;
  readonly newCustomer?: boolean;
  readonly dryRun?: boolean;
}

interface Adjustment {
  readonly idempotencyKey: string;
  readonly customerId: string;
  readonly meter: string;
  readonly quantity: string;
  readonly occurredAt: string;
  readonly reason: string;
  readonly actor: string;
}

const KEY_DIGITS = 32;

export function adjustCommand(): Command {
  return createApiVerb({
    name: 'adjust',
    summary:
      'Correct usage after the fact: add to a sum or count meter, or take away from it. The same command again changes ' +
      'nothing; a wrong correction is undone by another. `adjust list` shows them.',
    examples: [
      "tallystick adjust --customer acme --meter api_calls --quantity -12.5 --at 2026-11-20T07:10:00Z --reason 'counted twice'",
      'tallystick adjust list --customer acme',
    ],
  })
    .option('--customer <id>', 'whose usage')
    .option('--meter <key>', 'the meter that is corrected')
    .option('--quantity <decimal>', 'how much to add; below zero to take away')
    .option('--at <instant>', 'when the usage occurred that is corrected (RFC 3339 with an offset)')
    .option('--reason <text>', 'why; kept for ever')
    .option('--actor <name>', 'who says so; kept for ever (default: $USER)')
    .option('--key <key>', 'the idempotency key (default: made of all of the above)')
    .option('--history', 'take it however old it is')
    .option('--new-customer', 'take it for a customer that nobody has told of and that has no usage')
    .option('--dry-run', 'show the adjustment and send nothing')
    .addCommand(listCommand())
    .action(async (options: AdjustOptions, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const body = toAdjustment(options);
        const query = {
          history: options.history === true ? true : undefined,
          newCustomer: options.newCustomer === true ? true : undefined,
          dryRun: options.dryRun === true ? true : undefined,
        };
        const request = { method: 'POST' as const, path: '/v1/adjustments', query, body };
        const recorded = await api().call<Adjustment & { outcome: string }>(request);
        output.result(options.dryRun === true ? { dryRun: true, ...recorded } : recorded, () => {
          const done = options.dryRun === true ? `would be ${recorded.outcome}` : recorded.outcome;
          return `${done}: ${recorded.idempotencyKey} of ${recorded.customerId}, ${recorded.quantity} ${recorded.meter}`;
        });
      });
    });
}

function toAdjustment(options: AdjustOptions): Adjustment {
  const { customer, meter, quantity, at, reason } = options;
  const actor = options.actor ?? process.env['USER'];
  if (
    customer === undefined ||
    meter === undefined ||
    quantity === undefined ||
    at === undefined ||
    reason === undefined
  ) {
    throw usageError(
      'an adjustment needs --customer, --meter, --quantity, --at and --reason',
      'Give all of them; `tallystick adjust list` shows what was recorded.',
    );
  }
  if (actor === undefined || actor === '') {
    throw usageError('nobody is named who makes this adjustment', 'Say who with --actor.');
  }
  const stated = { customerId: customer, meter, quantity, occurredAt: at, reason, actor };
  return { idempotencyKey: options.key ?? keyOf(stated), ...stated };
}

/** The same for the same correction, so that a command that is run again does not count twice. */
function keyOf(stated: Omit<Adjustment, 'idempotencyKey'>): string {
  const hash = createHash('sha256').update(JSON.stringify(Object.values(stated)));
  return `cli:${hash.digest('hex').slice(0, KEY_DIGITS)}`;
}

function listCommand(): Command {
  return createApiVerb({
    name: 'list',
    summary: 'List adjustments, those received last first.',
    examples: ['tallystick adjust list', 'tallystick adjust list --customer acme --meter api_calls --json'],
  })
    .option('--customer <id>', 'of one customer')
    .option('--meter <key>', 'of one meter')
    .option('--limit <number>', 'how many at most', readListLimit, LIMIT_DEFAULT)
    .action(async (_options: object, command: Command) => {
      // The options of `adjust` have the same names: commander gives them to whichever command comes first.
      const options = command.optsWithGlobals<{ customer?: string; meter?: string; limit: number }>();
      await runVerb(command, async ({ api, output }) => {
        const query = { customerId: options.customer, meter: options.meter };
        const found = await takeRows(api().list<Adjustment>('/v1/adjustments', query), options.limit);
        output.result(found.rows, () => `${renderList(found.rows)}${moreRows(found, options.limit)}`);
      });
    });
}

function renderList(found: readonly Adjustment[]): string {
  return renderTable(
    [
      { heading: 'occurred' },
      { heading: 'customer' },
      { heading: 'meter' },
      { heading: 'quantity', align: 'right' },
      { heading: 'actor' },
      { heading: 'reason' },
    ],
    found.map(({ occurredAt, customerId, meter, quantity, actor, reason }) => {
      return [occurredAt, customerId, meter, quantity, actor, reason];
    }),
  );
}

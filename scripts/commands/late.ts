import { Command, Option } from 'commander';
import { LATE_USAGE_STATES } from '../../src/submissions/late-usage.ts';
import { LIMIT_DEFAULT, moreRows, readListLimit, takeRows } from '../lib/list-option.ts';
import { renderTable } from '../lib/table.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

/** An entry as `GET /v1/late-usage` gives it. */
interface LateUsage {
  readonly id: string;
  readonly customerId: string;
  readonly meter: string;
  readonly quantity: string;
  readonly timestamp: string;
  readonly reason: string;
  readonly policy: string;
  readonly invoiceId?: string;
  readonly unit?: string;
  readonly state: string;
  readonly decision?: {
    readonly policy: string;
    readonly actor: string;
    readonly at: string;
    readonly reason?: string;
  };
}

interface ListOptions {
  readonly state: string;
  readonly customer?: string;
  readonly meter?: string;
  readonly limit: number;
}

interface DecideOptions {
  readonly actor: string;
  readonly reason?: string;
  readonly dryRun?: boolean;
}

const ANY_STATE = 'all';

export function lateCommand(): Command {
  return new Command('late')
    .description('Usage that came too late for its invoice: list it, and decide what becomes of it.')
    .addHelpText('after', '\nExample:\n  $ tallystick late list --customer acme')
    .addCommand(listCommand())
    .addCommand(decideCommand());
}

function listCommand(): Command {
  return createApiVerb({
    name: 'list',
    summary: 'List late usage that waits, in order of id.',
    examples: ['tallystick late list', 'tallystick late list --state all --json'],
  })
    .addOption(
      new Option('--state <state>', 'only those in this state')
        .choices([...LATE_USAGE_STATES, ANY_STATE])
        .default('waiting'),
    )
    .option('--customer <id>', 'only those of this customer')
    .option('--meter <key>', 'only those of this meter')
    .option('--limit <number>', 'how many at most', readListLimit, LIMIT_DEFAULT)
    .action(async (options: ListOptions, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const { state, customer, meter, limit } = options;
        const query = { state: state === ANY_STATE ? undefined : state, customerId: customer, meter };
        const found = await takeRows(api().list<LateUsage>('/v1/late-usage', query), limit);
        output.result(found.rows, () => `${render(found.rows)}${moreRows(found, limit)}`);
      });
    });
}

function render(found: readonly LateUsage[]): string {
  return renderTable(
    [
      { heading: 'id' },
      { heading: 'customer' },
      { heading: 'meter' },
      { heading: 'quantity', align: 'right' },
      { heading: 'used' },
      { heading: 'why' },
      { heading: 'invoice' },
      { heading: 'state' },
      { heading: 'decided' },
    ],
    found.map(({ id, customerId, meter, quantity, timestamp, reason, invoiceId, state, decision }) => [
      id,
      customerId,
      meter,
      quantity,
      timestamp,
      reason,
      invoiceId,
      state,
      decision && renderDecision(decision),
    ]),
  );
}

function renderDecision({ policy, actor, reason }: NonNullable<LateUsage['decision']>): string {
  return `${policy} by ${actor}${reason === undefined ? '' : `: ${reason}`}`;
}

function decideCommand(): Command {
  const command = createApiVerb({
    name: 'decide <id> <policy>',
    summary: 'Decide what becomes of late usage: next_period bills it with the open period, dismiss never.',
    examples: [
      'tallystick late decide ab12cd34:acme:calls:w20261031T23:2~late next_period --actor ann',
      'tallystick late decide ab12cd34:acme:calls:w20261031T23:2~late dismiss --actor ann --reason "a gift"',
    ],
  })
    .requiredOption('--actor <name>', 'who decides; kept with the decision')
    .option('--reason <text>', 'why; kept with the decision')
    .option('--dry-run', 'show what would be decided and decide nothing');
  return command.action(async (id: string, policy: string) => {
    const { actor, reason, dryRun } = command.opts<DecideOptions>();
    await runVerb(command, async ({ api, output }) => {
      const body = { policy, actor, ...(reason !== undefined && { reason }) };
      const path = `/v1/late-usage/${encodeURIComponent(id)}/decide`;
      const decided = await api().call<LateUsage>({ method: 'POST', path, query: { dryRun }, body });
      if (dryRun === true) {
        const { state, quantity, meter, customerId } = decided;
        return output.result({ dryRun, ...decided }, () => {
          return `would decide ${quantity} ${meter} of ${customerId}: ${policy} by ${actor}; it is ${state} now`;
        });
      }
      output.result(decided, () => `${decided.state}: ${decided.quantity} ${decided.meter} of ${decided.customerId}`);
    });
  });
}

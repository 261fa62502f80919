import type { Command } from 'commander';
import { takeRows } from '../lib/list-option.ts';
import { renderTable } from '../lib/table.ts';
import { explainUnbilled } from '../../src/reconciliation/unbilled-usage.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

/** One entry of `GET /v1/unbilled-usage`. */
interface UnbilledUsage {
  readonly customerId: string;
  readonly meter: string;
  readonly unit: string;
  readonly parts: readonly {
    readonly reason: string;
    readonly from: string;
    readonly to: string;
    readonly quantity: string;
  }[];
  readonly accepted?: string;
}

export function unbilledCommand(): Command {
  return createApiVerb({
    name: 'unbilled',
    summary:
      'Usage that is at Stripe and that nothing bills: no subscription, no item with a price on the meter, or used ' +
      'before it began. `customers put <id> \'{"unbilledReason":"…"}\'` says that it is meant to be so.',
    examples: ['tallystick unbilled', 'tallystick unbilled --customer acme --json'],
  })
    .option('--customer <id>', 'of one customer')
    .option('--all', 'also what is meant to be so')
    .action(async (options: { customer?: string; all?: boolean }, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const query = { customerId: options.customer, accepted: options.all === true ? undefined : 'false' };
        const found = (await takeRows(api().list<UnbilledUsage>('/v1/unbilled-usage', query), Infinity)).rows;
        output.result(found, () => render(found));
      });
    });
}

function render(found: readonly UnbilledUsage[]): string {
  const columns = [
    { heading: 'customer' },
    { heading: 'meter' },
    { heading: 'quantity', align: 'right' as const },
    { heading: 'unit' },
    { heading: 'why' },
    { heading: 'from' },
    { heading: 'to' },
    { heading: 'accepted' },
  ];
  const rows = found.flatMap(({ customerId, meter, unit, parts, accepted }) =>
    parts.map(({ reason, from, to, quantity }) => {
      return [customerId, meter, quantity, unit, explainUnbilled(reason), from, to, accepted];
    }),
  );
  return renderTable(columns, rows);
}

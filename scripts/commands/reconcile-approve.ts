import type { Command } from 'commander';
import { type PlannedRow, renderPlan } from '../lib/heal-plan-text.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

interface ApproveOptions {
  readonly actor: string;
  readonly reason?: string;
  readonly customer?: string;
  readonly meter?: string;
  readonly acceptSurplus?: boolean;
  readonly dryRun?: boolean;
}

interface Approved {
  readonly approvalId?: string;
  readonly rows: readonly PlannedRow[];
  readonly left: readonly PlannedRow[];
  readonly applied: number;
}

/** `tallystick reconcile approve`: a person decides about plans that wait. */
export function approveCommand(): Command {
  return createApiVerb({
    name: 'approve <id>',
    summary: 'Carry out plans of a reconciliation run that wait for a person, if they are still the same.',
    examples: [
      'tallystick reconcile approve 7c2e… --actor ada --dry-run',
      'tallystick reconcile approve 7c2e… --actor ada --customer acme --meter api_calls --accept-surplus',
    ],
  })
    .requiredOption('--actor <name>', 'who decides; kept on the run')
    .option('--reason <text>', 'why; kept on the run')
    .option('--customer <id>', 'only plans of this customer')
    .option('--meter <key>', 'only plans of this meter')
    .option('--accept-surplus', 'take back, too, what no submission of ours explains: it may be from elsewhere')
    .option('--dry-run', 'compare anew and show what would be carried out')
    .action(async (id: string, _options: ApproveOptions, command: Command) => {
      // `reconcile` knows some of these options, too, and is given those that stand before `approve`.
      const options = command.optsWithGlobals<ApproveOptions>();
      await runVerb(command, async ({ api, output }) => {
        const approved = await api().call<Approved>({
          method: 'POST',
          path: `/v1/reconciliations/${encodeURIComponent(id)}/approve`,
          body: toBody(options),
        });
        output.result(approved, () => {
          const plans = renderPlan(approved.rows);
          if (options.dryRun === true) return `would carry out:\n\n${plans}`;
          return `${approved.applied} corrections made:\n\n${plans}`;
        });
        if (approved.left.length > 0)
          output.note(`\nThis is left as it is, and waits:\n\n${renderPlan(approved.left)}`);
      });
    });
}

function toBody({ actor, reason, customer, meter, acceptSurplus, dryRun }: ApproveOptions): object {
  return {
    actor,
    ...(reason !== undefined && { reason }),
    ...(customer !== undefined && { customerId: customer }),
    ...(meter !== undefined && { meter }),
    ...(acceptSurplus === true && { acceptSurplus }),
    ...(dryRun === true && { dryRun }),
  };
}

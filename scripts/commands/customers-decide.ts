import { type Command, Option } from 'commander';
import { runJob } from '../lib/job-run.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

interface Decided {
  readonly customerId: string;
  readonly mappedTo: string;
  readonly decision: 'count' | 'set_aside';
  readonly blocked: number;
}

interface DecideOptions {
  readonly as: string;
  readonly actor: string;
  readonly reason: string;
  readonly dryRun?: boolean;
}

/** `customers decide`: usage under a Stripe customer's own id that another customer is mapped to. */
export function decideCommand(): Command {
  const command = createApiVerb({
    name: 'decide <id>',
    summary:
      'Usage came under the Stripe customer id of a customer that has an id of its own: count it with that customer ' +
      '(also what is still to come), or set aside what came so far, never to be billed.',
    examples: [
      'tallystick customers decide cus_NffrFeUfNV2Hib --as count --actor ann --reason "one team sends the other id"',
      'tallystick customers decide cus_NffrFeUfNV2Hib --as set_aside --actor ann --reason "test traffic"',
    ],
  });
  return command
    .addOption(
      new Option('--as <decision>', 'what becomes of it').choices(['count', 'set_aside']).makeOptionMandatory(),
    )
    .requiredOption('--actor <name>', 'who decides; kept with the decision')
    .requiredOption('--reason <text>', 'why; kept with the decision')
    .option('--dry-run', 'say what would be decided, and decide nothing')
    .action(async (id: string, { as: decision, actor, reason, dryRun = false }: DecideOptions) => {
      await runVerb(command, async ({ api, output }) => {
        const client = api();
        const path = `/v1/customers/${encodeURIComponent(id)}/decide`;
        const body = { decision, actor, reason, ...(dryRun && { dryRun }) };
        const decided = await client.call<Decided>({ method: 'POST', path, body });
        const result = dryRun ? {} : ((await runJob(client, { job: 'settle-mapped-ids', input: {} })).result ?? {});
        output.result({ dryRun, ...decided, ...result }, () => render(decided, dryRun, result));
      });
    });
}

function render({ customerId, mappedTo, decision, blocked }: Decided, dryRun: boolean, result: object): string {
  const what = decision === 'count' ? `count with ${mappedTo}` : 'be set aside, never to be billed';
  if (dryRun) return `usage of ${customerId} would ${what}; ${blocked} of its submissions are blocked`;
  const { counted = 0, duplicates = 0, conflicts = 0, setAside = 0 } = result as Partial<Record<string, number>>;
  const found =
    decision === 'count' ? `${counted} events counted, ${duplicates} were there already, ${conflicts} conflicts; ` : '';
  return `usage of ${customerId} is to ${what}: ${found}${setAside} blocked submissions dismissed`;
}

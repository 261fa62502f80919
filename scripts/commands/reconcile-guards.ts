import { type Command, Option } from 'commander';
import { GUARD_STATES } from '../../src/invoice-guard/invoice-guard.ts';
import { LIMIT_DEFAULT, moreRows, readListLimit, takeRows } from '../lib/list-option.ts';
import { renderTable } from '../lib/table.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

/** A guard as `GET /v1/invoice-guards` gives it. */
interface Guard {
  readonly invoiceId: string;
  readonly stripeCustomerId: string;
  readonly customerId?: string;
  readonly state: string;
  readonly finalizesAt?: string;
  readonly reason?: string;
  readonly lines: readonly {
    readonly meter: string;
    readonly verdict: string;
    readonly local?: string;
    readonly stripe?: string;
    readonly billed?: string;
  }[];
}

interface ListOptions {
  readonly state: string;
  readonly limit: number;
}

interface ReleaseOptions {
  readonly actor: string;
  readonly reason: string;
  readonly dryRun?: boolean;
}

const ANY_STATE = 'all';

/** `tallystick reconcile guards`: what the guard found of each invoice. */
export function guardsCommand(): Command {
  return createApiVerb({
    name: 'guards',
    summary: 'List invoices that are held, or in another state, with both numbers of each line.',
    examples: ['tallystick reconcile guards', 'tallystick reconcile guards --state all --json'],
  })
    .addOption(
      new Option('--state <state>', 'only those in this state').choices([...GUARD_STATES, ANY_STATE]).default('held'),
    )
    .option('--limit <number>', 'how many at most', readListLimit, LIMIT_DEFAULT)
    .action(async ({ state, limit }: ListOptions, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const query = { state: state === ANY_STATE ? undefined : state };
        const found = await takeRows(api().list<Guard>('/v1/invoice-guards', query), limit);
        output.result(found.rows, () => `${render(found.rows)}${moreRows(found, limit)}`);
      });
    });
}

/** `tallystick reconcile release`: a person lets an invoice go. */
export function releaseCommand(): Command {
  return createApiVerb({
    name: 'release <invoice>',
    summary: 'Let an invoice be finalised although our figures and Stripe’s differ.',
    examples: ['tallystick reconcile release in_1Q… --actor ada --reason "agreed with the customer"'],
  })
    .requiredOption('--actor <name>', 'who decides; kept with the invoice')
    .requiredOption('--reason <text>', 'why; kept with the invoice')
    .option('--dry-run', 'show the lines and release nothing')
    .action(async (invoice: string, { actor, reason, dryRun }: ReleaseOptions, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const path = `/v1/invoice-guards/${encodeURIComponent(invoice)}`;
        if (dryRun === true) {
          const guard = await api().get<Guard>(path);
          return output.result(guard, () => `would release:\n\n${render([guard])}`);
        }
        const body = { actor, reason };
        const guard = await api().call<Guard>({ method: 'POST', path: `${path}/release`, body });
        output.result(guard, () => `is released at the guard's next look:\n\n${render([guard])}`);
      });
    });
}

function render(found: readonly Guard[]): string {
  const columns = ['invoice', 'customer', 'state', 'final at', 'meter', 'verdict'].map((heading) => ({ heading }));
  const figures = ['ours', "Stripe's"].map((heading) => ({ heading, align: 'right' as const }));
  const rows = found.flatMap((guard) => {
    const { invoiceId, customerId = guard.stripeCustomerId, state, finalizesAt } = guard;
    const lines = guard.lines.map(({ meter, verdict, local, stripe, billed }) => [
      meter,
      verdict,
      local,
      billed ?? stripe,
    ]);
    // Stripe's time for a draft that is held back has no meaning: it does not advance.
    const place = [invoiceId, customerId, state, state === 'held' ? 'held back' : finalizesAt];
    return (lines.length === 0 ? [['', '', undefined, undefined]] : lines).map((line) => [...place, ...line]);
  });
  return renderTable([...columns, ...figures], rows);
}

import { Command } from 'commander';
import { DAY_MS } from '../../src/platform/durations.ts';
import { type ApiClient, ApiError } from '../lib/api-client.ts';
import { foreseePut, renderChange } from '../lib/change-text.ts';
import { CommandError } from '../lib/command-error.ts';
import { readJsonArgument } from '../lib/json-argument.ts';
import { takeRows } from '../lib/list-option.ts';
import { renderTable } from '../lib/table.ts';
import { explainUnbilled } from '../../src/reconciliation/unbilled-usage.ts';
import { decideCommand } from './customers-decide.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

/** Events of this age show that a customer is there. */
const EVENTS_MS_MAX = 34 * DAY_MS;

interface CustomerReply {
  readonly customerId: string;
  readonly stripeCustomerId?: string;
  readonly name?: string;
  readonly billingAnchor?: string;
  readonly billingInterval?: string;
  readonly unbilledReason?: string;
  readonly unbilled?: readonly {
    readonly meter: string;
    readonly unit: string;
    readonly parts: readonly {
      readonly reason: string;
      readonly from: string;
      readonly to: string;
      readonly quantity: string;
    }[];
  }[];
}

/** A customer as `GET /v1/unmapped-customers` gives it. */
interface Unmapped {
  readonly customerId: string;
  readonly blockedSubmissions: number;
  readonly since: string;
}

type UnmappedRow = { readonly customerId: string; readonly name?: string } & Partial<Unmapped>;

interface PutReply extends CustomerReply {
  readonly warnings?: readonly { readonly code: string; readonly detail: string }[];
}

export function customersCommand(): Command {
  return new Command('customers')
    .description("The team's customers and the Stripe customers they are.")
    .addHelpText('after', '\nExample:\n  $ tallystick customers list --unmapped')
    .addCommand(listCommand())
    .addCommand(putCommand())
    .addCommand(showCommand())
    .addCommand(decideCommand());
}

function listCommand(): Command {
  return createApiVerb({
    name: 'list',
    summary: 'List the customers we were told about.',
    examples: ['tallystick customers list', 'tallystick customers list --unmapped'],
  })
    .option('--unmapped', 'only those without a Stripe customer, also those known from events alone')
    .action(async (options: { unmapped?: boolean }, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const client = api();
        const query = options.unmapped === true ? { unmapped: true } : {};
        const customers = (await takeRows(client.list<CustomerReply>('/v1/customers', query), Infinity)).rows;
        if (options.unmapped !== true) return output.result(customers, () => render(customers));
        // Also those nobody told us about: their usage simply came, and waits.
        const waiting = (await takeRows(client.list<Unmapped>('/v1/unmapped-customers'), Infinity)).rows;
        const unmapped = mergeUnmapped(customers, waiting);
        output.result(unmapped, () => renderUnmapped(unmapped));
      });
    });
}

/** Customers without a Stripe customer: those we were told about, and those whose usage waits for a mapping. */
function mergeUnmapped(told: readonly CustomerReply[], waiting: readonly Unmapped[]): UnmappedRow[] {
  const rows = new Map<string, UnmappedRow>(told.map((customer) => [customer.customerId, customer]));
  for (const entry of waiting) rows.set(entry.customerId, { ...rows.get(entry.customerId), ...entry });
  return [...rows.values()].sort((a, b) => (a.customerId < b.customerId ? -1 : 1));
}

function renderUnmapped(rows: readonly UnmappedRow[]): string {
  return renderTable(
    [
      { heading: 'customer' },
      { heading: 'name' },
      { heading: 'meter events waiting', align: 'right' },
      { heading: 'since' },
    ],
    rows.map(({ customerId, name, blockedSubmissions, since }) => {
      return [customerId, name, String(blockedSubmissions ?? 0), since];
    }),
  );
}

function putCommand(): Command {
  const command = createApiVerb({
    name: 'put <id> <json>',
    summary: 'Create a customer or change the given fields of one; JSON as text, @file or -.',
    examples: ['tallystick customers put acme \'{"stripeCustomerId":"cus_NffrFeUfNV2Hib"}\''],
  })
    .option('--unchecked', 'map to a Stripe customer without asking Stripe whether it is there')
    .option('--dry-run', 'show the customer as it is and the change, and change nothing');
  return command.action(async (id: string, json: string, options: { dryRun?: boolean; unchecked?: boolean }) => {
    await runVerb(command, async ({ api, output }) => {
      const body = await readJsonArgument(json);
      const query = options.unchecked === true ? { unchecked: true } : {};
      if (options.dryRun === true) {
        const { before, after } = await foreseePut<CustomerReply>(api(), { path: pathOf(id), query, body });
        output.result({ dryRun: true, before, after }, () => renderChange(before, after));
        return;
      }
      const customer = await api().call<PutReply>({ method: 'PUT', path: pathOf(id), query, body });
      output.result(customer, () => render([customer]));
      for (const { detail } of customer.warnings ?? []) output.note(detail);
    });
  });
}

function showCommand(): Command {
  return createApiVerb({
    name: 'show <id>',
    summary: 'Show a customer and its usage in the current billing period.',
    examples: ['tallystick customers show acme'],
  }).action(async (id: string, _options: object, command: Command) => {
    await runVerb(command, async ({ api, output }) => {
      const client = api();
      const customer = await findCustomer(client, id);
      const usage = await client.get<{
        from: string;
        to: string;
        meters: { meter: string; unit: string; quantity: string }[];
      }>(`${pathOf(id)}/usage`);
      output.result({ ...customer, usage }, () =>
        [
          render([customer]),
          ...(customer.known === false ? [`${id} is known from its events only.${adviceToMap(id)}`] : []),
          ...renderAccepted(customer),
          `usage from ${usage.from} to ${usage.to}`,
          renderTable(
            [{ heading: 'meter' }, { heading: 'quantity', align: 'right' }, { heading: 'unit' }],
            usage.meters.map(({ meter, quantity, unit }) => [meter, quantity, unit]),
          ),
          ...renderUnbilled(customer),
        ].join('\n\n'),
      );
    });
  });
}

/** Nobody has to tell us of a customer before it uses something: then there is usage, and no record. */
async function findCustomer(client: ApiClient, id: string): Promise<CustomerReply & { readonly known?: boolean }> {
  try {
    return await client.get<CustomerReply>(pathOf(id));
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== 'customer_not_found') throw error;
    const now = Date.now();
    const recent = { from: new Date(now - EVENTS_MS_MAX).toISOString(), to: new Date(now).toISOString() };
    // The open period first: it reaches as far as events do.
    for (const range of [{}, recent]) {
      const query = { ...range, limit: 1 };
      const { data } = await client.get<{ data: readonly unknown[] }>(`${pathOf(id)}/events`, query);
      if (data.length > 0) return { customerId: id, known: false, ...(isStripeId(id) && { stripeCustomerId: id }) };
    }
    throw new CommandError({
      what: `nothing is known of the customer ${id}`,
      why: 'nobody told us about it, and it has sent no event in the last 34 days',
      todo: '`tallystick customers list` shows those there are.',
      cause: error,
    });
  }
}

function isStripeId(id: string): boolean {
  return id.startsWith('cus_');
}

function adviceToMap(id: string): string {
  return isStripeId(id)
    ? ' An id of Stripe’s is mapped to itself.'
    : ` Say which Stripe customer it is: tallystick customers put '${id}' '{"stripeCustomerId":"cus_…"}'`;
}

function render(customers: readonly CustomerReply[]): string {
  return renderTable(
    ['customer', 'Stripe customer', 'name', 'billing anchor', 'interval', 'unbilled because'].map((heading) => ({
      heading,
    })),
    customers.map(({ customerId, stripeCustomerId, name, billingAnchor, billingInterval, unbilledReason }) => {
      return [customerId, stripeCustomerId, name, billingAnchor, billingInterval, unbilledReason];
    }),
  );
}

/** That its usage is meant to be billed by nothing: this silences the alarm, so it is shown wherever the customer is. */
function renderAccepted({ unbilledReason }: CustomerReply): string[] {
  return unbilledReason === undefined ? [] : [`nothing has to bill its usage: ${unbilledReason}`];
}

/** Usage that is at Stripe and that nothing bills. */
function renderUnbilled({ unbilled = [], unbilledReason }: CustomerReply): string[] {
  if (unbilled.length === 0) return [];
  const rows = unbilled.flatMap(({ meter, unit, parts }) =>
    parts.map(({ reason, from, to, quantity }) => [meter, quantity, unit, explainUnbilled(reason), from, to]),
  );
  const columns = ['unit', 'why', 'from', 'to'].map((heading) => ({ heading }));
  const meant = unbilledReason === undefined ? '' : `, as it is meant to be (${unbilledReason})`;
  return [
    `at Stripe, and nothing bills it${meant}:`,
    renderTable([{ heading: 'meter' }, { heading: 'quantity', align: 'right' }, ...columns], rows),
  ];
}

function pathOf(id: string): string {
  return `/v1/customers/${encodeURIComponent(id)}`;
}

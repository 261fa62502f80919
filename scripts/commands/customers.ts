import { Command } from 'commander';
import { readJsonArgument } from '../lib/json-argument.ts';
import { renderTable } from '../lib/table.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

interface CustomerReply {
  readonly customerId: string;
  readonly stripeCustomerId?: string;
  readonly name?: string;
  readonly billingAnchor?: string;
  readonly billingInterval?: string;
}

export function customersCommand(): Command {
  return new Command('customers')
    .description("The team's customers and the Stripe customers they are.")
    .addHelpText('after', '\nExample:\n  $ tallystick customers list --unmapped')
    .addCommand(listCommand())
    .addCommand(putCommand())
    .addCommand(showCommand());
}

function listCommand(): Command {
  return createApiVerb({
    name: 'list',
    summary: 'List the customers we were told about.',
    examples: ['tallystick customers list', 'tallystick customers list --unmapped'],
  })
    .option('--unmapped', 'only those without a Stripe customer')
    .action(async (options: { unmapped?: boolean }, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const customers: CustomerReply[] = [];
        const query = options.unmapped === true ? { unmapped: true } : {};
        for await (const customer of api().list<CustomerReply>('/v1/customers', query)) customers.push(customer);
        output.result(customers, () => render(customers));
      });
    });
}

function putCommand(): Command {
  const command = createApiVerb({
    name: 'put <id> <json>',
    summary: 'Create a customer or change the given fields of one; JSON as text, @file or -.',
    examples: ['tallystick customers put acme \'{"stripeCustomerId":"cus_NffrFeUfNV2Hib"}\''],
  }).option('--dry-run', 'show the customer as it is and the change, and change nothing');
  return command.action(async (id: string, json: string, options: { dryRun?: boolean }) => {
    await runVerb(command, async ({ api, output }) => {
      const body = await readJsonArgument(json);
      if (options.dryRun === true) {
        const present = (await api().send({ method: 'GET', path: pathOf(id) })).body;
        output.result({ dryRun: true, present, change: body }, () => `would put ${id}: ${JSON.stringify(body)}`);
        return;
      }
      const customer = await api().call<CustomerReply>({ method: 'PUT', path: pathOf(id), body });
      output.result(customer, () => render([customer]));
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
      const customer = await client.get<CustomerReply>(pathOf(id));
      const usage = await client.get<{
        from: string;
        to: string;
        meters: { meter: string; unit: string; quantity: string }[];
      }>(`${pathOf(id)}/usage`);
      output.result({ ...customer, usage }, () =>
        [
          render([customer]),
          `usage from ${usage.from} to ${usage.to}`,
          renderTable(
            [{ heading: 'meter' }, { heading: 'quantity', align: 'right' }, { heading: 'unit' }],
            usage.meters.map(({ meter, quantity, unit }) => [meter, quantity, unit]),
          ),
        ].join('\n\n'),
      );
    });
  });
}

function render(customers: readonly CustomerReply[]): string {
  return renderTable(
    ['customer', 'Stripe customer', 'name', 'billing anchor', 'interval'].map((heading) => ({ heading })),
    customers.map(({ customerId, stripeCustomerId, name, billingAnchor, billingInterval }) => {
      return [customerId, stripeCustomerId, name, billingAnchor, billingInterval];
    }),
  );
}

function pathOf(id: string): string {
  return `/v1/customers/${encodeURIComponent(id)}`;
}

import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { ApiClient } from '../lib/api-client.ts';
import { CommandError, usageError } from '../lib/command-error.ts';
import { requireRunningDev } from '../lib/dev/running-dev.ts';
import { renderTable } from '../lib/table.ts';
import { createVerb, runVerb, type VerbContext } from '../lib/verb.ts';

interface SubscribeOptions {
  readonly meter: string;
  readonly unitAmount: string;
  readonly currency: string;
  readonly dryRun?: boolean;
}

interface Customer {
  readonly stripeCustomerId?: string;
  readonly billingCalendar?: { readonly source: string };
}

const UNIT_AMOUNT = /^(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,12})?$/;
const CURRENCY = /^[a-z]{3}$/;
/** The double tells of a new subscription within a second. */
const HEARD_MS_MAX = 30_000;
const POLL_MS = 200;

/** `tallystick dev subscribe`: what a team does in Stripe's Dashboard before there is anything to bill. */
export function subscribeCommand(): Command {
  return createVerb({
    name: 'subscribe <customer>',
    summary:
      "Make at the double of a running `tallystick dev` what a bill needs: a product with a monthly price on a meter, a customer, its subscription; and map our customer to Stripe's. With a live account this is done in Stripe's Dashboard or by your application.",
    examples: ['tallystick dev subscribe acme --meter api_calls --unit-amount 2'],
  })
    .requiredOption('--meter <key>', 'the meter whose usage the price bills')
    .option('--unit-amount <decimal>', "what a unit costs, in the currency's minor unit: 2 is 0.02 USD", '1')
    .option('--currency <code>', 'the currency', 'usd')
    .option('--dry-run', 'say what would be made and make nothing')
    .action(async (customer: string, _options: object, command: Command) => {
      const options = command.optsWithGlobals<SubscribeOptions>();
      await runVerb(command, (context) => runSubscribe(customer, options, context));
    });
}

async function runSubscribe(
  customerId: string,
  { meter: key, unitAmount, currency, dryRun }: SubscribeOptions,
  { output, signal }: VerbContext,
): Promise<void> {
  if (!UNIT_AMOUNT.test(unitAmount)) throw usageError(`${unitAmount} is no amount`, 'Give a decimal like 2 or 0.05.');
  if (!CURRENCY.test(currency)) throw usageError(`${currency} is no currency`, 'Give three small letters: usd, eur.');
  const dev = await requireRunningDev();
  const api = new ApiClient({ url: dev.url, apiKey: dev.environment['TALLYSTICK_API_KEY'] ?? '', signal });
  const stripe = await import('../lib/dev/stripe-objects.ts');
  const { eventName } = await findEventName(api, key);
  const meter = await stripe.findMeterOf(dev.simulatorUrl, eventName);
  if (meter === undefined) {
    throw new CommandError({
      what: `Stripe has no meter for ${eventName}`,
      todo: 'Run `tallystick meters sync` first.',
    });
  }
  const path = `/v1/customers/${encodeURIComponent(customerId)}`;
  const known = await api.send({ method: 'GET', path });
  const mapped = known.status === 200 ? (known.body as Customer).stripeCustomerId : undefined;
  if (dryRun === true) {
    const made = { product: key, price: `${unitAmount} ${currency}`, customer: mapped ?? 'a new one', meter };
    output.result({ dryRun: true, ...made }, () => {
      return `would make product ${key}, price ${unitAmount} ${currency}, customer ${made.customer}, and subscribe it`;
    });
    return;
  }
  const customer = mapped ?? (await stripe.makeCustomer(dev.simulatorUrl, customerId));
  if (mapped === undefined) await api.call({ method: 'PUT', path, body: { stripeCustomerId: customer } });
  const made = await stripe.subscribeTo(dev.simulatorUrl, { customer, meter, name: key, unitAmount, currency });
  await untilHeard(api, path);
  output.result({ meter, ...made }, () => {
    const table = renderTable([{ heading: 'at Stripe' }, { heading: 'id' }], Object.entries({ meter, ...made }));
    return `${table}\n\n${customerId} is ${customer} and pays ${unitAmount} (hundredths of ${currency}) a unit of ${key}.`;
  });
}

async function findEventName(api: ApiClient, key: string): Promise<{ eventName: string }> {
  const meter = await api.get<{ stripe?: { eventName: string } }>(`/v1/meters/${encodeURIComponent(key)}`);
  if (meter.stripe !== undefined) return meter.stripe;
  throw new CommandError({
    what: `the meter ${key} sends nothing to Stripe`,
    todo: `Give it an event name: tallystick meters put ${key} '{"stripe":{"eventName":"${key}"}}'.`,
  });
}

/** Waits until the daemon has dealt with the webhook: from then on it knows the billing period. */
async function untilHeard(api: ApiClient, path: string): Promise<void> {
  const endsAt = performance.now() + HEARD_MS_MAX;
  while (performance.now() < endsAt) {
    if ((await api.get<Customer>(path)).billingCalendar?.source === 'subscription') return;
    await delay(POLL_MS);
  }
  throw new CommandError({
    what: 'the daemon has not heard of the subscription yet',
    why: 'the webhook is still on its way, or is refused',
    todo: 'Look at the lines that `tallystick dev` prints.',
  });
}

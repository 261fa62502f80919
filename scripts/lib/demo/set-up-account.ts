import { openStripe } from '../../../src/stripe/client.ts';
import type { ApiClient } from '../api-client.ts';
import { CommandError } from '../command-error.ts';
import { runJob } from '../job-run.ts';
import { SIMULATOR_KEY } from '../local-stack.ts';
import type { Flights } from './flights.ts';
import { DEMO_METERS, toMeterBody } from './meters.ts';

const AIRLINES: Readonly<Record<string, string>> = {
  '9E': 'Endeavor Air',
  AA: 'American Airlines',
  AS: 'Alaska Airlines',
  B6: 'JetBlue Airways',
  DL: 'Delta Air Lines',
  EV: 'ExpressJet',
  F9: 'Frontier Airlines',
  FL: 'AirTran Airways',
  HA: 'Hawaiian Airlines',
  MQ: 'Envoy Air',
  OO: 'SkyWest Airlines',
  UA: 'United Air Lines',
  US: 'US Airways',
  VX: 'Virgin America',
  WN: 'Southwest Airlines',
  YV: 'Mesa Airlines',
};

/** Registers the meters here and creates their counterparts at the simulator. */
export async function setUpMeters(api: ApiClient): Promise<number> {
  for (const meter of DEMO_METERS) {
    await api.call({ method: 'PUT', path: `/v1/meters/${meter.key}`, body: toMeterBody(meter) });
  }
  const run = await runJob(api, { job: 'sync-meters' });
  const synced = (run.result?.['meters'] ?? []) as readonly { outcome: string }[];
  const created = synced.filter(({ outcome }) => outcome === 'created').length;
  if (created === DEMO_METERS.length) return created;
  throw new CommandError({ what: `${created} of ${DEMO_METERS.length} meters were created at the simulator` });
}

/** Why no subscription bills an airline: it would be told of otherwise, as usage that is given away. */
const UNBILLED = 'the demo sells nothing';

/** Creates each airline at the simulator, and tells the daemon which Stripe customer it is. */
export async function setUpCustomers(api: ApiClient, simulatorUrl: string, flights: Flights): Promise<number> {
  const stripe = openStripe({ secretKey: SIMULATOR_KEY, apiBase: simulatorUrl });
  for (const customerId of flights.customers.keys()) {
    const name = AIRLINES[customerId] ?? customerId;
    const { id } = await stripe.customers.create({ name, metadata: { customerId } });
    const billing = { billingAnchor: flights.firstDay, billingInterval: 'year', unbilledReason: UNBILLED };
    const body = { stripeCustomerId: id, name, ...billing };
    await api.call({ method: 'PUT', path: `/v1/customers/${encodeURIComponent(customerId)}`, body });
  }
  // Before there is usage this has nothing to queue; afterwards the sweep would have every hour derived twice.
  await runJob(api, { job: 'requeue-usage' });
  return flights.customers.size;
}

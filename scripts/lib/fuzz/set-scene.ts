import { HOUR_MS } from '../../../src/platform/durations.ts';
import { openStripe } from '../../../src/stripe/client.ts';
import { ApiClient } from '../api-client.ts';
import { runJob } from '../job-run.ts';
import { SIMULATOR_KEY } from '../local-stack.ts';

const METERS = [
  { key: 'calls', eventType: 'api.call', aggregation: 'sum', groupBy: ['properties.plan'] },
  { key: 'peak', eventType: 'api.call', aggregation: 'max', valueFrom: 'properties.size' },
];

/**
 * Something behind every list, so that answers have content: mapped and unmapped customers, meters, usage of the last
 * hours, a rejected event, an adjustment, submissions, a reconciliation run.
 */
export async function setScene(url: string, apiKey: string, simulatorUrl: string): Promise<void> {
  const api = new ApiClient({ url, apiKey });
  const put = (path: string, body: object) => api.call({ method: 'PUT', path, body });
  const { id } = await openStripe({ secretKey: SIMULATOR_KEY, apiBase: simulatorUrl }).customers.create({});
  for (const { key, ...meter } of METERS) await put(`/v1/meters/${key}`, { ...meter, stripe: { eventName: key } });
  await put('/v1/customers/acme', { stripeCustomerId: id, name: 'Acme' });
  await put('/v1/customers/globex', {});
  await runJob(api, { job: 'sync-meters' });
  await api.call({ method: 'POST', path: '/v1/events', body: usageBefore(Date.now()) });
  const { occurredAt } = eventOf({ customerId: 'acme', at: Date.now() - 2 * HOUR_MS });
  const fix = { idempotencyKey: 'fix', customerId: 'acme', meter: 'calls', quantity: '-1', occurredAt };
  await api.call({ method: 'POST', path: '/v1/adjustments', body: { ...fix, reason: 'a test', actor: 'ada' } });
  await runJob(api, { job: 'aggregate-usage' });
  await runJob(api, { job: 'submit-meter-events', input: { flush: true } });
  await runJob(api, { job: 'reconcile-usage' });
  await runJob(api, { job: 'guard-invoices' });
}

function usageBefore(nowMs: number): object[] {
  const hours = Array.from({ length: 10 }, (_, hour) => nowMs - hour * HOUR_MS);
  const usage = hours.flatMap((at) => ['acme', 'globex'].map((customerId) => eventOf({ customerId, at })));
  return [...usage, { ...eventOf({ customerId: 'acme', at: nowMs }), quantity: 'many' }];
}

function eventOf({ customerId, at }: { customerId: string; at: number }) {
  const occurredAt = new Date(at).toISOString();
  const properties = { plan: 'pro', size: 12.5, isFree: false };
  return { idempotencyKey: `e:${at}`, customerId, eventType: 'api.call', occurredAt, quantity: '2.5', properties };
}

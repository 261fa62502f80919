/** What the demo sets up, however long it takes: a sweep may read the subscriptions, of which there are none, in between. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ApiClient } from '../../scripts/lib/api-client.ts';
import { openFlights } from '../../scripts/lib/demo/flights.ts';
import { setUpCustomers, setUpMeters } from '../../scripts/lib/demo/set-up-account.ts';
import { HOUR_MS } from '../../src/platform/durations.ts';
import { ADMIN_KEY, withDaemon } from '../support/daemon.ts';
import { REPOSITORY } from '../support/source-files.ts';

it("the demo's airlines match at Stripe, also once it is known that nothing bills them", () =>
  withDaemon({ environment: { SUMMARY_LAG_MAX_MS: '0' } }, async ({ url, simulator, call, run }) => {
    const api = new ApiClient({ url, apiKey: ADMIN_KEY });
    const flights = await openFlights(join(REPOSITORY, 'examples'), Date.now());
    await setUpMeters(api);
    await setUpCustomers(api, simulator.url, flights);
    const occurredAt = new Date(Date.now() - 2 * HOUR_MS).toISOString();
    const event = { idempotencyKey: 'one', customerId: 'UA', eventType: 'flight', occurredAt, quantity: '61' };
    expect((await call('POST', '/v1/events', event)).status).toBe(200);
    await run('aggregate-usage');
    await run('submit-meter-events');
    await run('catch-up-events');
    const { verdicts } = await run<{ verdicts: Record<string, number> }>('reconcile-usage');
    expect(Object.keys(verdicts)).toEqual(['match']);
    // It was looked for and found, and is meant.
    expect(await run('find-unbilled-usage')).toEqual({ unbilled: 3, accepted: 3 });
  }));

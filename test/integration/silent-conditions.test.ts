/** A meter whose `where` has the right text as the wrong type counts nothing: whoever looks at meters is told. */
import { expect, it } from 'vitest';
import { HOUR_MS } from '../../src/platform/durations.ts';
import { type LentDaemon, withDaemon } from '../support/daemon.ts';

interface ShownMeter {
  readonly key: string;
  readonly warnings?: readonly { readonly code: string; readonly detail: string }[];
}

let count = 0;

async function send(daemon: LentDaemon, properties: object): Promise<void> {
  count += 1;
  const occurredAt = new Date(Date.now() - HOUR_MS).toISOString();
  const event = { idempotencyKey: `e${count}`, customerId: 'acme', eventType: 'request', occurredAt, properties };
  expect((await daemon.call('POST', '/v1/events', [event])).status).toBe(200);
}

it('a where value that only its other type ever matched is a warning of its meter, in lists, in doctor and in metrics', () =>
  withDaemon({}, async (daemon) => {
    const { cliHere: run } = daemon;
    const warned = async (): Promise<string[]> => {
      const { data } = await daemon.get<{ data: ShownMeter[] }>('/v1/meters');
      return data.filter(({ warnings = [] }) => warnings.length > 0).map(({ key }) => key);
    };
    const request = { eventType: 'request', aggregation: 'count' };
    const where = (property: string, ...values: unknown[]) => ({ ...request, where: [{ property, in: values }] });
    for (const [key, body] of Object.entries({
      texts: where('status', '200'),
      numbers: where('code', 7),
      booleans: where('beta', true),
      both: where('status', '200', 200),
      right: where('region', 'eu'),
      none: request,
    })) {
      expect((await daemon.call('PUT', `/v1/meters/${key}`, body)).status).toBe(200);
    }
    expect(await warned()).toEqual([]);
    await send(daemon, { status: 200, code: '7', beta: 'true', region: 'eu' });

    expect(await warned()).toEqual(['booleans', 'numbers', 'texts']);
    const { warnings = [] } = await daemon.get<ShownMeter>('/v1/meters/texts');
    expect(warnings).toEqual([
      { code: 'condition_type_differs', detail: expect.stringContaining('properties.status = "200"') as string },
    ]);
    expect((await run('meters', 'list')).stdout).toMatch(/^warning: the meter texts: .* 200 instead \(a number/m);
    const doctor = await run('doctor', 'usage');
    expect(doctor.stdout).toMatch(/the meter texts: `where` counts .* -> let the application send/);
    const metrics = await (await daemon.call('GET', '/metrics')).text();
    expect(metrics).toContain('needs_review{kind="condition_type_differs"} 3');

    // One event of the right type each: they count.
    await send(daemon, { status: '200', code: 7, beta: true });
    expect(await warned()).toEqual([]);
    expect((await run('meters', 'list')).stdout).not.toContain('warning');
  }));

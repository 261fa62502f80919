/** How long the daemon's event loop stands under each of the requests that a hostile or clumsy client can make. */
import { randomUUID } from 'node:crypto';
import { request } from 'node:http';
import { gzipSync } from 'node:zlib';
import { epochHourOf } from '../../../src/customers/calendar/window.ts';
import { HOUR_MS } from '../../../src/platform/durations.ts';
import { DirtyHours } from '../../../src/usage/dirty-hours-store.ts';
import { memoryOf } from './processes.ts';
import { atMost, type Figure, median } from './report.ts';
import type { Sizes } from './sizes.ts';
import type { Stack, Watched } from './stack.ts';

/** No request may hold the process longer than this. */
const STALL_MS_MAX = 100;
const MIB = 1024 * 1024;
/** A client that asks for much does not wait for it. */
const PATIENCE_MS = 500;
const SCRAPERS = 100;
const SCRAPE_MS = 4_000;
const EVENTS_PER_REQUEST = 1_000;

export async function measureEventLoop(stack: Stack, sizes: Sizes): Promise<Figure[]> {
  const daemon = await stack.startWatchedDaemon('eventloop');
  const { db } = await stack.open('eventloop');
  const attack = new Attack(daemon, sizes);
  const journal = new DirtyHours(db);
  const figures: Figure[] = [];
  const watch = async (what: string, work: () => Promise<string | void>): Promise<void> => {
    await daemon.delay();
    const startedAt = performance.now();
    const found = await work();
    const tookMs = performance.now() - startedAt;
    const { longestMs, longestWorkMs, p99Ms } = await daemon.delay();
    const note = `${found === undefined ? '' : `${found}, `}took ${(tookMs / 1_000).toFixed(1)} s, delay p99 ${p99Ms.toFixed(0)}, longest ${longestMs.toFixed(0)} ms`;
    figures.push(atMost({ what: `${what} (${note}): longest work, ms` }, longestWorkMs, STALL_MS_MAX));
  };
  await watch('nothing at all', () => new Promise((resolve) => setTimeout(resolve, 2_000)));
  await attack.call('PUT', '/v1/meters/calls', { eventType: 'call', aggregation: 'sum' });
  await watch('events of customers with ids of 250 bytes', () => attack.sendLongIds());
  await watch('their aggregation', () => attack.run('aggregate-usage'));
  await journal.recordPairs(
    Array.from({ length: sizes.hostileCustomers }, () => ({ customerId: randomUUID(), hour: attack.hour })),
    new Date(attack.hour * HOUR_MS),
  );
  await watch(`aggregation of ${sizes.hostileCustomers} customers with UUIDs`, () => attack.run('aggregate-usage'));
  await watch('forged cursors, and nobody waits', () => attack.forgeCursors());
  await watch('1 MiB of newlines in a kilobyte of gzip', () => attack.sendNewlines());
  await watch('524,288 brackets', () => attack.sendBrackets());
  await watch('1,000 refused events in a request', () => attack.sendRefused());
  await watch(`${SCRAPERS} scrapers of /metrics beside ingest`, () => attack.scrape());
  await attack.makeCustomers(db, sizes.hostilePairs);
  await attack.makeMeters(10);
  await journal.recordPairs(attack.ownPairs(sizes.hostilePairs), new Date(attack.hour * HOUR_MS));
  await watch(`derivation of ${sizes.hostilePairs} customers with anchors of their own × 10 meters`, () =>
    attack.run('aggregate-usage'),
  );
  await attack.makeMeters(sizes.hostileMeters);
  await attack.send([attack.event('acme', 0)]);
  await watch(`usage of ${sizes.hostileMeters} meters, not derived`, () => attack.readUsage());
  await attack.run('aggregate-usage');
  await watch(`usage of ${sizes.hostileMeters} meters, derived`, () => attack.readUsage());
  const before = memoryOf(daemon.pid).residentMib;
  await watch('anonymous webhook bodies of 1 MB', () => attack.sendBodies(undefined));
  await watch('webhook bodies of 1 MB under a made-up signature', () =>
    attack.sendBodies(`t=${Math.floor(Date.now() / 1_000)},v1=${'ab'.repeat(32)}`),
  );
  const { highestMib } = memoryOf(daemon.pid);
  figures.push({
    what: 'resident memory before the bodies → highest ever, MiB',
    value: `${before.toFixed(0)} → ${highestMib.toFixed(0)}`,
  });
  return figures;
}

/** One client, and what it does to the daemon. */
class Attack {
  readonly #daemon: Watched;
  readonly #sizes: Sizes;
  readonly hour = epochHourOf(Date.now() - 2 * HOUR_MS);
  #sent = 0;

  constructor(daemon: Watched, sizes: Sizes) {
    this.#daemon = daemon;
    this.#sizes = sizes;
  }

  async call(method: string, path: string, body?: unknown): Promise<{ status: number; text: string }> {
    return this.#fetch(path, { method, ...(body !== undefined && { body: JSON.stringify(body) }) });
  }

  async #fetch(path: string, init: RequestInit): Promise<{ status: number; text: string }> {
    const headers = { ...this.#daemon.headers, ...(init.headers as Record<string, string> | undefined) };
    const response = await fetch(this.#daemon.url + path, { ...init, headers });
    return { status: response.status, text: await response.text() };
  }

  event(customerId: string, index: number, eventType = 'call'): object {
    this.#sent += 1;
    const occurredAt = new Date(this.hour * HOUR_MS + (index % 3_600) * 1_000).toISOString();
    return { idempotencyKey: `e-${this.#sent}`, customerId, eventType, occurredAt, quantity: '1' };
  }

  async send(events: readonly object[]): Promise<void> {
    const { status, text } = await this.call('POST', '/v1/events', events);
    if (status !== 200) throw new Error(`events were answered ${status}: ${text.slice(0, 300)}`);
  }

  async sendLongIds(): Promise<string> {
    const { hostileRequests } = this.#sizes;
    for (let sent = 0; sent < hostileRequests; sent += 1) {
      const ids = Array.from({ length: EVENTS_PER_REQUEST }, (_, index) => `${sent}-${index}-`.padEnd(250, 'x'));
      await this.send(ids.map((id, index) => this.event(id, index, 'nobody-counts-this')));
    }
    return `${hostileRequests * EVENTS_PER_REQUEST} events`;
  }

  /** Runs a job to its end. */
  async run(job: string): Promise<string> {
    const { runId } = JSON.parse((await this.call('POST', '/v1/runs', { job })).text) as { runId: string };
    for (;;) {
      const found = JSON.parse((await this.call('GET', `/v1/runs/${runId}`)).text) as {
        state: string;
        result?: { customerHours?: number; setAside?: number };
        error?: unknown;
      };
      if (found.state === 'failed') throw new Error(`${job} failed: ${JSON.stringify(found.error)}`);
      if (found.state === 'succeeded') return `${found.result?.customerHours} customer-hours`;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  /** Asks, and goes away before the answer is there. */
  async #askAndLeave(path: string): Promise<void> {
    await fetch(this.#daemon.url + path, {
      headers: this.#daemon.headers,
      signal: AbortSignal.timeout(PATIENCE_MS),
    }).then(
      (response) => response.text(),
      () => undefined,
    );
  }

  async forgeCursors(): Promise<void> {
    const cursors = [
      [-8.64e15, 'x', 'event'],
      [-8.64e15, 'x'],
      [8.64e15, 'x'],
    ].map((position) => Buffer.from(JSON.stringify(position)).toString('base64url'));
    const paths = ['/v1/customers/acme/events?', '/v1/customers/acme/explain?meter=calls&', '/v1/stripe/inbox?'];
    for (const path of paths) for (const cursor of cursors) await this.#askAndLeave(`${path}cursor=${cursor}`);
    await new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
  }

  async sendNewlines(): Promise<string> {
    const body = gzipSync(Buffer.alloc(MIB - 1, '\n'));
    const headers = { 'content-type': 'application/x-ndjson', 'content-encoding': 'gzip' };
    const { status } = await this.#fetch('/v1/events', { method: 'POST', headers, body: new Uint8Array(body) });
    return `answered ${status}`;
  }

  async sendBrackets(): Promise<string> {
    const { status } = await this.#fetch('/v1/events', { method: 'POST', body: '['.repeat(524_288) });
    return `answered ${status}`;
  }

  async sendRefused(): Promise<string> {
    const text = 'x'.repeat(900);
    const refused = Array.from({ length: EVENTS_PER_REQUEST }, () => ({
      ...this.event('acme', 0),
      quantity: -1,
      text,
    }));
    const { status } = await this.call('POST', '/v1/events', refused);
    return `answered ${status}`;
  }

  async scrape(): Promise<string> {
    const over = new AbortController();
    let scrapes = 0;
    const scrapers = Array.from({ length: SCRAPERS }, async () => {
      while (!over.signal.aborted) {
        await (await fetch(`${this.#daemon.url}/metrics`)).text();
        scrapes += 1;
      }
    });
    const latencies: number[] = [];
    const endsAt = performance.now() + SCRAPE_MS;
    while (performance.now() < endsAt) {
      const startedAt = performance.now();
      await this.send([this.event('acme', latencies.length)]);
      latencies.push(performance.now() - startedAt);
    }
    over.abort();
    await Promise.all(scrapers);
    return `${scrapes} scrapes, ingest p50 ${median(latencies).toFixed(0)} ms`;
  }

  ownPairs(count: number): { customerId: string; hour: number }[] {
    return Array.from({ length: count }, (_, index) => ({ customerId: `own-${index}`, hour: this.hour }));
  }

  /** Customers whose billing periods all begin at an instant of their own. */
  async makeCustomers(db: Awaited<ReturnType<Stack['open']>>['db'], count: number): Promise<void> {
    const at = new Date();
    const anchorMs = Date.UTC(2026, 0, 1);
    const documents = this.ownPairs(count).map(({ customerId }, index) => ({
      _id: customerId,
      calendars: [{ layout: 1, anchor: new Date(anchorMs + index * 60_000), interval: 'month' }],
      revision: 1,
      createdAt: at,
      updatedAt: at,
    }));
    await db.collection('customers').insertMany(documents as never[]);
  }

  async makeMeters(count: number): Promise<void> {
    const aggregations = ['sum', 'count', 'max', 'last'];
    for (let index = 0; index < count; index += 1) {
      const aggregation = aggregations[index % aggregations.length];
      await this.call('PUT', `/v1/meters/meter-${index}`, { eventType: 'call', aggregation });
    }
  }

  async readUsage(): Promise<string> {
    const startedAt = performance.now();
    const { status } = await this.call('GET', '/v1/customers/acme/usage');
    return `answered ${status} in ${(performance.now() - startedAt).toFixed(0)} ms`;
  }

  /** Bodies all at once, most of which are refused before they are sent. */
  async sendBodies(signature: string | undefined): Promise<string> {
    const body = Buffer.alloc(1_000_000, 'x');
    const statuses = new Map<string, number>();
    const sendOne = (): Promise<void> =>
      new Promise((resolve) => {
        const headers = {
          'content-length': body.length,
          ...(signature !== undefined && { 'stripe-signature': signature }),
        };
        const sent = request(
          `${this.#daemon.url}/v1/stripe/webhooks`,
          { method: 'POST', headers, agent: false },
          (reply) => {
            statuses.set(String(reply.statusCode), (statuses.get(String(reply.statusCode)) ?? 0) + 1);
            reply.resume();
            reply.on('close', () => {
              sent.destroy();
              resolve();
            });
          },
        );
        sent.on('error', () => resolve());
        sent.end(body);
      });
    await Promise.all(Array.from({ length: this.#sizes.hostileBodies }, sendOne));
    return [...statuses].map(([status, count]) => `${count} × ${status}`).join(', ');
  }
}

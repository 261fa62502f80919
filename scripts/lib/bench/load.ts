/** The load generator: a process of its own that sends a part of a series and counts the answers. */
import { Connection } from './connection.ts';
import { type EventSeries, jsonOf } from './event-series.ts';
import { quantile } from './report.ts';

/** Events whose requests are made at once: some 22 MB. */
const SLAB_EVENTS = 100_000;

export interface LoadOrder {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly connections: number;
  readonly eventsPerRequest: number;
  readonly series: EventSeries;
  readonly firstIndex: number;
  readonly events: number;
}

export interface LoadResult {
  readonly events: number;
  readonly elapsedMs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly accepted: number;
  readonly duplicates: number;
}

/**
 * Sends an order in slabs whose requests are made beforehand: what is timed is the server, as with the bare driver,
 * whose documents are made beforehand too.
 * @throws Error when any answer is not 200: a rate with refusals in it says nothing.
 */
export async function runLoad(order: LoadOrder): Promise<LoadResult> {
  const { url, headers, eventsPerRequest } = order;
  const connections = await Promise.all(Array.from({ length: order.connections }, () => Connection.open(url, headers)));
  const end = order.firstIndex + order.events;
  const latencies = new Float64Array(Math.ceil(order.events / eventsPerRequest));
  const total = { requests: 0, accepted: 0, duplicates: 0 };
  let bodies: Iterator<Buffer> = [].values();
  const send = async (connection: Connection): Promise<void> => {
    for (let next = bodies.next(); next.done !== true; next = bodies.next()) {
      const sentAt = performance.now();
      const answer = await connection.post(next.value);
      latencies[total.requests] = performance.now() - sentAt;
      total.requests += 1;
      if (answer.status !== 200) throw new Error(`HTTP ${answer.status}: ${answer.body.slice(0, 500)}`);
      total.accepted += countOf(answer.body, 'accepted');
      total.duplicates += countOf(answer.body, 'duplicates');
    }
  };
  let elapsedMs = 0;
  for (let from = order.firstIndex; from < end; from += SLAB_EVENTS) {
    bodies = bodiesOf(order, from, Math.min(end, from + SLAB_EVENTS)).values();
    const startedAt = performance.now();
    await Promise.all(connections.map(send));
    elapsedMs += performance.now() - startedAt;
  }
  for (const connection of connections) connection.close();
  const sorted = latencies.subarray(0, total.requests).sort();
  return {
    events: order.events,
    elapsedMs,
    p50Ms: quantile(sorted, 0.5),
    p99Ms: quantile(sorted, 0.99),
    accepted: total.accepted,
    duplicates: total.duplicates,
  };
}

function bodiesOf({ series, eventsPerRequest }: LoadOrder, from: number, to: number): Buffer[] {
  const requests = Math.ceil((to - from) / eventsPerRequest);
  return Array.from({ length: requests }, (_, request) => {
    const first = from + request * eventsPerRequest;
    return Buffer.from(bodyOf(series, first, Math.min(to, first + eventsPerRequest)));
  });
}

function bodyOf(series: EventSeries, from: number, to: number): string {
  if (to - from === 1) return jsonOf(series, from);
  let body = '[';
  for (let index = from; index < to; index += 1)
    body += index === from ? jsonOf(series, index) : `,${jsonOf(series, index)}`;
  return `${body}]`;
}

/** The totals come first in an answer, so that a long list of results need not be parsed. */
function countOf(body: string, name: string): number {
  const at = body.indexOf(`"${name}":`);
  return at < 0 ? 0 : Number.parseInt(body.slice(at + name.length + 3), 10);
}

/** Prometheus metrics of one process: what this folder sees itself, and gauges that others can read. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { DaemonError } from '../errors.ts';
import { inReadScope } from '../read-scope.ts';
import { within } from '../time-limit.ts';
import type { App } from './route.ts';

/** A figure that is read when the metrics are asked for. Its name gets the prefix `tallystick_`. */
export interface GaugeSource {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
  /** The samples of the moment. When it fails or takes too long, the gauge alone is left out of this answer. */
  read(): Promise<readonly GaugeSample[]> | readonly GaugeSample[];
}

export interface GaugeSample {
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
}

/** What became of the events of a request, by their outcome. */
interface IngestCounts {
  readonly accepted: number;
  readonly duplicates: number;
  readonly conflicts: number;
  readonly rejected: number;
}

const PREFIX = 'tallystick_';
const READ_MS_MAX = 3_000;
/** Scrapes within this time of each other share one answer: whoever asks, and however often, costs one read of the store. */
const SHARED_MS_MAX = 5_000;
const LATENCY_BUCKETS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const DELAY_BUCKETS = [0.1, 1, 5, 30, 60, 300, 1_800, 3_600, 21_600, 86_400, 604_800, 2_592_000];

export class Metrics {
  readonly registry = new Registry();
  readonly #gauges: { readonly source: GaugeSource; readonly gauge: Gauge }[] = [];
  #shared: { readonly atMs: number; readonly text: Promise<string> } | undefined;
  readonly #requests: Histogram<'method' | 'route' | 'status'>;
  readonly #ingest: Histogram;
  readonly #outcomes: Counter<'outcome'>;
  readonly #delay: Histogram;
  readonly #failedReads: Counter<'gauge'>;
  readonly #deliveries: Counter<'destination' | 'outcome'>;

  constructor() {
    const registers = [this.registry];
    this.#requests = new Histogram({
      name: `${PREFIX}http_request_seconds`,
      help: 'Time from a request to its answer.',
      labelNames: ['method', 'route', 'status'],
      buckets: LATENCY_BUCKETS,
      registers,
    });
    this.#ingest = new Histogram({
      name: `${PREFIX}ingest_seconds`,
      help: 'Time from a request with usage events to its durable answer.',
      buckets: LATENCY_BUCKETS,
      registers,
    });
    this.#outcomes = new Counter({
      name: `${PREFIX}ingest_events_total`,
      help: 'Usage events by outcome.',
      labelNames: ['outcome'],
      registers,
    });
    this.#delay = new Histogram({
      name: `${PREFIX}ingest_delay_seconds`,
      help: 'Received minus occurred, of the oldest event of each request.',
      buckets: DELAY_BUCKETS,
      registers,
    });
    this.#failedReads = new Counter({
      name: `${PREFIX}metric_read_failures_total`,
      help: 'Gauges that could not be read when the metrics were asked for.',
      labelNames: ['gauge'],
      registers,
    });
    this.#deliveries = new Counter({
      name: `${PREFIX}webhook_deliveries_total`,
      help: 'Deliveries of Stripe by destination and outcome: taken, or the code of the refusal.',
      labelNames: ['destination', 'outcome'],
      registers,
    });
  }

  /** For the `onReception` of the webhook routes. */
  observeDelivery(destination: string, outcome: string): void {
    this.#deliveries.inc({ destination, outcome });
  }

  /** For the `observe` of the events route. */
  observeIngest(result: IngestCounts, elapsedMs: number): void {
    this.#ingest.observe(elapsedMs / 1_000);
    if (result.accepted > 0) this.#outcomes.inc({ outcome: 'accepted' }, result.accepted);
    if (result.duplicates > 0) this.#outcomes.inc({ outcome: 'duplicate' }, result.duplicates);
    if (result.conflicts > 0) this.#outcomes.inc({ outcome: 'conflict' }, result.conflicts);
    if (result.rejected > 0) this.#outcomes.inc({ outcome: 'rejected' }, result.rejected);
  }

  /** For the `observeDelay` of the ingest job. */
  observeDelay(delayMs: number): void {
    this.#delay.observe(Math.max(0, delayMs) / 1_000);
  }

  observeRequest(labels: { method: string; route: string; status: number }, elapsedMs: number): void {
    this.#requests.observe({ ...labels, status: `${Math.floor(labels.status / 100)}xx` }, elapsedMs / 1_000);
  }

  /** Everything as text, as it was at most `SHARED_MS_MAX` ago. */
  text(): Promise<string> {
    const nowMs = performance.now();
    if (this.#shared === undefined || nowMs - this.#shared.atMs >= SHARED_MS_MAX) {
      this.#shared = { atMs: nowMs, text: this.#read() };
    }
    return this.#shared.text;
  }

  addGauge(source: GaugeSource): void {
    const gauge = new Gauge({
      name: `${PREFIX}${source.name}`,
      help: source.help,
      labelNames: [...(source.labels ?? [])],
      registers: [this.registry],
    });
    this.#gauges.push({ source, gauge });
  }

  async #read(): Promise<string> {
    await Promise.all(this.#gauges.map((of) => this.#readGauge(of)));
    return this.registry.metrics();
  }

  /** A gauge that cannot be read is left out, and counted; the others are told. Never throws. */
  async #readGauge({ source, gauge }: { source: GaugeSource; gauge: Gauge }): Promise<void> {
    let samples: readonly GaugeSample[] | undefined;
    try {
      samples = await readWithin(READ_MS_MAX, source);
    } catch {
      this.#failedReads.inc({ gauge: source.name });
    }
    // One without labels is 0 after `reset`, and no sample after `remove`.
    gauge.reset();
    if ((source.labels ?? []).length === 0) gauge.remove();
    for (const { value, labels } of samples ?? []) gauge.set({ ...labels }, value);
  }
}

/**
 * `/metrics`, and the duration of every request.
 * @param bearer the token that a scrape has to bring; undefined: it is open.
 */
export function registerMetrics(app: App, metrics: Metrics, bearer?: string): void {
  app.addHook('onResponse', (request, reply, done) => {
    const route = request.routeOptions.url ?? 'unknown';
    metrics.observeRequest({ method: request.method, route, status: reply.statusCode }, reply.elapsedTime);
    done();
  });
  app.get('/metrics', { schema: { hide: true } }, async (request, reply) => {
    if (bearer !== undefined) requireBearer(request.headers.authorization, bearer);
    const text = await metrics.text();
    return reply.type(metrics.registry.contentType).send(text);
  });
}

/** Hashes are compared: their lengths are equal, whatever was sent. */
function requireBearer(header: string | undefined, bearer: string): void {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  if (timingSafeEqual(digest(header ?? ''), digest(`Bearer ${bearer}`))) return;
  throw new DaemonError({
    kind: 'forbidden',
    code: 'metrics_token_wrong',
    message: 'Send the token of METRICS_BEARER: "Authorization: Bearer …".',
  });
}

/** The samples, or a rejection once they took too long: their statements are then ended on the server as well. */
async function readWithin(timeoutMs: number, source: GaugeSource): Promise<readonly GaugeSample[]> {
  const ending = new AbortController();
  const endsAtMs = performance.now() + timeoutMs;
  const scope = { signal: ending.signal, leftMs: () => endsAtMs - performance.now() };
  try {
    const samples = inReadScope(scope, async () => source.read());
    return await within(timeoutMs, samples, () => {
      throw new Error('timed out');
    });
  } finally {
    ending.abort(new Error('the scrape is over'));
  }
}

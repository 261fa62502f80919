import type { Database } from '../../../src/platform/mongo/database.ts';
import { type ApiAnswer, ApiClient } from '../api-client.ts';
import { CommandError } from '../command-error.ts';
import { EXIT } from '../exit-codes.ts';
import type { DaemonProcess } from './daemon-process.ts';
import { checkCounts } from './in-process-target.ts';
import { pause } from './load.ts';
import type { Target } from './target.ts';
import type { Batch, SentAdjustment } from './usage-mill.ts';

const RETRY_MS = 100;
const PATIENCE_MS = 120_000;
const RUN_PATIENCE_MS = 60_000;

/** The daemon's process over HTTP, through whatever happens to it. */
export class DaemonTarget implements Target {
  readonly db: Database['db'];
  readonly simulatorUrl: string;
  readonly daemon: DaemonProcess;
  readonly #api: ApiClient;
  #deathsBefore = 0;
  /** Answers that no caller may get; how often each status was given. */
  readonly violations: string[] = [];
  readonly statuses = new Map<number, number>();

  constructor(input: { db: Database['db']; simulatorUrl: string; daemon: DaemonProcess; apiKey: string }) {
    this.db = input.db;
    this.simulatorUrl = input.simulatorUrl;
    this.daemon = input.daemon;
    this.#api = new ApiClient({ url: input.daemon.url, apiKey: input.apiKey });
  }

  async crashAt(name: string, skip: number): Promise<void> {
    await this.daemon.recovered();
    this.#deathsBefore = this.daemon.deaths;
    await this.daemon.order({ kind: 'crash', at: name, skip });
  }

  hasCrashed(): boolean {
    return this.daemon.deaths > this.#deathsBefore;
  }

  async send(batch: Batch): Promise<void> {
    const answer = await this.#insist({ method: 'POST', path: '/v1/events', body: { events: batch.events } });
    checkCounts(batch, answer.body as Parameters<typeof checkCounts>[1]);
  }

  async replay(id: string, event: object): Promise<void> {
    const path = `/v1/rejected-events/${encodeURIComponent(id)}/replay`;
    await this.#insist({ method: 'POST', path, body: { event } });
  }

  async adjust(adjustment: SentAdjustment): Promise<void> {
    await this.#insist({ method: 'POST', path: '/v1/adjustments', body: adjustment });
  }

  async putMeter(key: string, change: object): Promise<void> {
    await this.#insist({ method: 'PUT', path: `/v1/meters/${key}`, body: change });
  }

  async putCustomer(customerId: string, change: object): Promise<void> {
    await this.#insist({ method: 'PUT', path: `/v1/customers/${customerId}`, body: change });
  }

  /** Asks for a run again when the process that had it died, or when it failed. */
  async run(job: string): Promise<Record<string, unknown>> {
    const untilMs = performance.now() + PATIENCE_MS;
    let failure = 'no answer';
    while (performance.now() < untilMs) {
      const { body } = await this.#insist({ method: 'POST', path: '/v1/runs', body: { job } });
      const deaths = this.daemon.deaths;
      const run = await this.#watch((body as { runId: string }).runId, deaths);
      if (run.state === 'succeeded') return run.result ?? {};
      failure = `${run.state} ${run.error?.message ?? ''}`;
      await pause(RETRY_MS);
    }
    throw new Error(`the job ${job} does not succeed: ${failure}`);
  }

  /** Rings for a job and does not wait. */
  async ring(job: string): Promise<void> {
    await this.#api.send({ method: 'POST', path: '/v1/runs', body: { job } }).catch(() => undefined);
  }

  async #watch(runId: string, deaths: number): Promise<RunView> {
    const untilMs = performance.now() + RUN_PATIENCE_MS;
    while (performance.now() < untilMs && this.daemon.deaths === deaths) {
      const { body } = await this.#insist({ method: 'GET', path: `/v1/runs/${runId}` });
      const run = body as RunView;
      if (run.state === 'succeeded' || run.state === 'failed') return run;
      await pause(RETRY_MS / 2);
    }
    return { state: 'cut off' };
  }

  /** Sends a request again until it is answered 2xx. Only 503 with `Retry-After`, and silence, are to be lived with. */
  async #insist(request: Parameters<ApiClient['send']>[0]): Promise<ApiAnswer> {
    const untilMs = performance.now() + PATIENCE_MS;
    while (performance.now() < untilMs) {
      const answer = await this.#trySend(request);
      if (answer === undefined) {
        await pause(RETRY_MS);
        continue;
      }
      this.statuses.set(answer.status, (this.statuses.get(answer.status) ?? 0) + 1);
      if (answer.status >= 200 && answer.status < 300) return answer;
      const what = `${request.method} ${request.path} was answered ${answer.status} ${JSON.stringify(answer.body)}`;
      if (answer.status !== 503) this.violations.push(what);
      else if (answer.retryAfterMs === undefined) this.violations.push(`${what} without Retry-After`);
      if (answer.status >= 400 && answer.status < 500) throw new Error(what);
      await pause(RETRY_MS);
    }
    throw new Error(`${request.method} ${request.path} was not answered well in ${PATIENCE_MS} ms`);
  }

  async #trySend(request: Parameters<ApiClient['send']>[0]): Promise<ApiAnswer | undefined> {
    try {
      return await this.#api.send(request);
    } catch (error) {
      if (error instanceof CommandError && error.exitCode === EXIT.dependencyDown) return undefined;
      throw error;
    }
  }
}

interface RunView {
  readonly state: string;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly message: string };
}

import { ingestUsageEvents } from '../../../src/usage/ingest-usage-events.ts';
import { putCustomer } from '../../../src/customers/put-customer.ts';
import { putMeter } from '../../../src/meters/put-meter.ts';
import { recordAdjustment } from '../../../src/usage/record-adjustment.ts';
import { replayRejectedEvent } from '../../../src/usage/replay-rejected-event.ts';
import { onBoundary } from '../../../src/platform/boundary.ts';
import type { UsageEvent } from '../../../src/usage/usage-event.ts';
import { DAY_MS } from '../../../src/platform/durations.ts';
import type { Database } from '../../../src/platform/mongo/database.ts';
import { toUsageEventDocument } from '../../../src/usage/usage-events-store.ts';
import { recordingDeps } from '../../../src/daemon/serve-facts.ts';
import { jobHandlers } from '../../../src/daemon/job-handlers.ts';
import type { JobParts } from '../../../src/daemon/job-parts.ts';
import { openJobParts } from './job-parts.ts';
import type { SkippingClock } from './skipping-clock.ts';
import { letTimePass, type Target } from './target.ts';
import type { Batch, SentAdjustment } from './usage-mill.ts';

const EVENT_AGE_MS_MAX = 34 * DAY_MS;
const CRASHES_MAX = 10;
const crashed = Symbol('crashed');

/**
 * The daemon's parts inside this process. A crash is a promise that never settles: what stood there stands for ever,
 * and everything goes on with new parts, as after a restart.
 */
export class InProcessTarget implements Target {
  readonly db: Database['db'];
  readonly simulatorUrl: string;
  readonly #open: () => JobParts;
  #parts: JobParts;
  #crash: Promise<typeof crashed>;
  #hasCrashed = false;

  constructor(input: { database: Database; mongodbUri: string; simulatorUrl: string; clock: SkippingClock }) {
    this.db = input.database.db;
    this.simulatorUrl = input.simulatorUrl;
    this.#open = () => openJobParts(input);
    this.#parts = this.#open();
    this.#crash = never();
  }

  get parts(): JobParts {
    return this.#parts;
  }

  async crashAt(name: string, skip: number): Promise<void> {
    this.#hasCrashed = false;
    let left = skip;
    this.#crash = new Promise((resolve) => {
      onBoundary((reached) => {
        if (this.#hasCrashed) return never();
        if (reached !== name) return undefined;
        left -= 1;
        if (left >= 0) return undefined;
        this.#hasCrashed = true;
        resolve(crashed);
        return never();
      });
    });
  }

  hasCrashed(): boolean {
    return this.#hasCrashed;
  }

  async send(batch: Batch): Promise<void> {
    await this.#survive(async () => {
      const { stores, clock } = this.#parts;
      const result = await ingestUsageEvents(
        {
          append: (events, bytes) => this.#append(events, bytes),
          findStored: (found) => stores.usageLog.findStored(found),
          keepRejected: (refused, at) => stores.rejectedEvents.keep(refused, at),
          unmeteredTypes: () => Promise.resolve([]),
          unmappedCustomers: () => Promise.resolve([]),
          mappedElsewhere: async () => new Map(),
          observeDelay: () => {},
          clock,
        },
        { events: { values: [...batch.events], faults: new Map() }, bytes: 1_000, ageMsMax: EVENT_AGE_MS_MAX },
      );
      checkCounts(batch, result);
    });
    await this.#survive(() => this.#parts.stores.usageLog.drain());
  }

  async run(job: string): Promise<Record<string, unknown>> {
    return this.#survive(() => {
      const handler = jobHandlers(this.#parts)[job];
      if (handler === undefined) throw new Error(`no job is named ${job}`);
      return handler({ input: {}, signal: new AbortController().signal });
    });
  }

  async replay(id: string, event: object): Promise<void> {
    await this.#survive(async () => {
      const { rejectedEvents: rejected, usageLog } = this.#parts.stores;
      const findStored = (events: readonly UsageEvent[]) => usageLog.findStored(events);
      const append = (events: readonly UsageEvent[], bytes: number) => this.#append(events, bytes);
      const input = { id, event, ageMsMax: EVENT_AGE_MS_MAX };
      await replayRejectedEvent({ rejected, append, findStored, clock: this.#parts.clock }, input);
    });
  }

  async adjust(adjustment: SentAdjustment): Promise<void> {
    await this.#survive(() => {
      const { stores, clock } = this.#parts;
      return recordAdjustment(recordingDeps(stores, clock), {
        adjustment,
        ageMsMax: EVENT_AGE_MS_MAX,
        isNewCustomer: true,
      });
    });
  }

  async putMeter(key: string, change: object): Promise<void> {
    const { clock, stores } = this.#parts;
    await putMeter({ clock, meters: stores.meters }, { key, change });
  }

  async putCustomer(customerId: string, change: object): Promise<void> {
    const { clock, stores } = this.#parts;
    await putCustomer({ clock, customers: stores.customers, usage: stores.usageAggregates }, { customerId, change });
  }

  #append(events: readonly UsageEvent[], bytes: number) {
    const { stores, clock } = this.#parts;
    return stores.usageLog.append(
      events.map((event) => toUsageEventDocument(event, clock.now())),
      bytes,
    );
  }

  /** Does something again, with new parts, until no crash comes in between. */
  async #survive<T>(work: () => Promise<T>): Promise<T> {
    for (let crashes = 0; crashes < CRASHES_MAX; crashes += 1) {
      const outcome = await Promise.race([work(), this.#crash]);
      if (outcome !== crashed) return outcome;
      onBoundary(undefined);
      this.#crash = never();
      this.#parts = this.#open();
      await letTimePass(this.db);
    }
    throw new Error(`something was cut off ${CRASHES_MAX} times`);
  }
}

function never<T>(): Promise<T> {
  return new Promise(() => {});
}

/** A request's counts have to be those that its events ask for. */
export function checkCounts(
  batch: Batch,
  result: { accepted: number; duplicates: number; conflicts: number; rejected: number },
): void {
  const isRight =
    result.accepted + result.duplicates === batch.valid.length &&
    result.conflicts === batch.conflicts &&
    result.rejected === batch.rejected;
  if (!isRight) throw new Error(`wrong outcome counts: ${JSON.stringify(result)}`);
}

import { AsyncLocalStorage } from 'node:async_hooks';
import { approveReconciliation } from '../../../jobs/approve-reconciliation.ts';
import { decideSubmission } from '../../../jobs/decide-submission.ts';
import { ingestUsageEvents } from '../../../jobs/ingest-usage-events.ts';
import { putCustomer } from '../../../jobs/put-customer.ts';
import { putMeter } from '../../../jobs/put-meter.ts';
import { recordAdjustment } from '../../../jobs/record-adjustment.ts';
import { onBoundary } from '../../../src/boundary.ts';
import type { AdjustmentInput } from '../../../src/domain/adjustment.ts';
import type { CustomerChange } from '../../../src/domain/customer.ts';
import type { MeterChange } from '../../../src/domain/meter-definition.ts';
import type { UsageEvent } from '../../../src/domain/usage-event.ts';
import { type Simulator, startSimulator } from '../../../src/simulator/simulator.ts';
import type { Switches } from '../../../src/simulator/switches.ts';
import type { Database } from '../../../src/storage/database.ts';
import { toUsageEventDocument } from '../../../src/storage/usage-events.ts';
import { recordingDeps } from '../../../src/wiring/fact-routes.ts';
import { jobHandlers } from '../../../src/wiring/job-handlers.ts';
import { reconciliationDeps } from '../../../src/wiring/reconciliation-deps.ts';
import type { JobParts } from '../../../src/wiring/job-parts.ts';
import { openJobParts } from '../torture/job-parts.ts';
import { SkippingClock } from '../torture/skipping-clock.ts';
import { letTimePass } from '../torture/target.ts';

const EVENT_AGE_MS_MAX = 34 * 86_400_000;
const crashed = Symbol('crashed');

/** A process that may end at its nth boundary: what stands there stands for ever. */
class Doom {
  readonly end: Promise<typeof crashed>;
  #left: number;
  #resolve: (value: typeof crashed) => void = () => {};
  #hasCome = false;

  constructor(boundaries: number) {
    this.#left = boundaries;
    this.end = new Promise((resolve) => (this.#resolve = resolve));
  }

  reach(): Promise<void> | undefined {
    if (!this.#hasCome) {
      this.#left -= 1;
      if (this.#left >= 0) return undefined;
      this.#hasCome = true;
      this.#resolve(crashed);
    }
    return new Promise(() => {});
  }
}

const dooms = new AsyncLocalStorage<Doom>();

/** A usage event as a caller sends it. */
export interface SentEvent {
  readonly idempotencyKey: string;
  readonly customerId: string;
  readonly eventType: 'call';
  readonly occurredAt: string;
  readonly quantity: string;
  readonly userId: string;
}

/** One seed's daemon, database and Stripe, on one clock on which waiting takes no time. */
export class World {
  readonly database: Database;
  readonly simulator: Simulator;
  readonly clock: SkippingClock;
  readonly #mongodbUri: string;
  #parts: JobParts;

  private constructor(input: { database: Database; mongodbUri: string; simulator: Simulator; clock: SkippingClock }) {
    this.database = input.database;
    this.simulator = input.simulator;
    this.clock = input.clock;
    this.#mongodbUri = input.mongodbUri;
    this.#parts = this.#openParts();
  }

  /** Empties the database and starts a Stripe that knows nothing. */
  static async open(
    place: { database: Database; mongodbUri: string },
    options: { seed: number; startMs: number; switches: Partial<Switches> },
  ): Promise<World> {
    for (const { name } of await place.database.db.listCollections({}, { nameOnly: true }).toArray()) {
      await place.database.db.collection(name).deleteMany({});
    }
    const clock = new SkippingClock(options.startMs);
    const simulator = await startSimulator({ clock, rateLimitPerSecond: 0, seed: options.seed, ...options.switches });
    onBoundary(() => dooms.getStore()?.reach());
    return new World({ ...place, simulator, clock });
  }

  get parts(): JobParts {
    return this.#parts;
  }

  async close(): Promise<void> {
    onBoundary(undefined);
    await this.simulator.stop();
  }

  /**
   * Runs a job.
   * @param endsAfter the process ends at the boundary after so many; a new one is started then, and does nothing yet.
   * @returns the job's result, or undefined when the process ended, or the job failed for a reason that passes.
   */
  async run(
    job: string,
    options: { endsAfter?: number; input?: Record<string, unknown> } = {},
  ): Promise<object | undefined> {
    const handler = jobHandlers(this.#parts)[job];
    if (handler === undefined) throw new Error(`no job is named ${job}`);
    const work = (): Promise<object> => handler({ input: options.input ?? {}, signal: new AbortController().signal });
    return this.#mayEnd(work, options.endsAfter);
  }

  /** Sends events until they are acknowledged, as a client does; the process may end in between. */
  async ingest(events: readonly SentEvent[], endsAfter?: number): Promise<void> {
    const send = async (): Promise<object> => {
      const { stores, clock } = this.#parts;
      const append = (accepted: readonly UsageEvent[], bytes: number) =>
        stores.usageLog.append(
          accepted.map((event) => toUsageEventDocument(event, clock.now())),
          bytes,
        );
      const result = await ingestUsageEvents(
        {
          append,
          keepRejected: (refused, at) => stores.rejectedEvents.keep(refused, at),
          meteredEventTypes: () => undefined,
          observeDelay: () => {},
          clock,
        },
        { events: { values: [...events], faults: new Map() }, bytes: 1_000, ageMsMax: EVENT_AGE_MS_MAX },
      );
      if (result.accepted + result.duplicates !== events.length) throw new Error(JSON.stringify(result));
      await stores.usageLog.drain();
      return result;
    };
    if ((await this.#mayEnd(send, endsAfter)) === undefined) await send();
  }

  /** Records a correction as its author does: again, until it is acknowledged. */
  async adjust(adjustment: AdjustmentInput, endsAfter?: number): Promise<void> {
    const record = (): Promise<object> =>
      recordAdjustment(recordingDeps(this.#parts.stores, this.clock), { adjustment, ageMsMax: EVENT_AGE_MS_MAX });
    if ((await this.#mayEnd(record, endsAfter)) === undefined) await record();
  }

  /** A person looks up what became of a submission in doubt, and says so. */
  async decide(identifier: string, counted: boolean): Promise<void> {
    const { stores, clock } = this.#parts;
    const input = { identifier, counted, actor: 'ops@example.com', reason: 'looked it up' };
    await decideSubmission(
      { entries: stores.outboxEntries, replace: (...replacement) => stores.ledger.replace(...replacement), clock },
      input,
    );
  }

  /** A person approves what a reconciliation run left waiting, surplus included. What changed meanwhile waits on. */
  async approve(id: string): Promise<void> {
    const input = { id, actor: 'ops@example.com', acceptSurplus: true };
    try {
      await approveReconciliation(reconciliationDeps(this.#parts), input);
    } catch (error) {
      if ((error as { kind?: unknown }).kind !== 'conflict') throw error;
    }
  }

  async putCustomer(customerId: string, change: CustomerChange): Promise<void> {
    const { clock, stores } = this.#parts;
    await putCustomer({ clock, customers: stores.customers, usage: stores.usageAggregates }, { customerId, change });
  }

  async putMeter(key: string, change: MeterChange): Promise<void> {
    const { clock, stores } = this.#parts;
    await putMeter({ clock, meters: stores.meters }, { key, change });
  }

  async #mayEnd(work: () => Promise<object>, endsAfter: number | undefined): Promise<object | undefined> {
    if (endsAfter === undefined) return work().catch(passing);
    const doom = new Doom(endsAfter);
    const outcome = await Promise.race([dooms.run(doom, work).catch(passing), doom.end]);
    if (outcome !== crashed) return outcome;
    this.#parts = this.#openParts();
    await letTimePass(this.database.db);
    return undefined;
  }

  #openParts(): JobParts {
    return openJobParts({
      database: this.database,
      mongodbUri: this.#mongodbUri,
      simulatorUrl: this.simulator.url,
      clock: this.clock,
      settings: {
        SUMMARY_LAG_MAX_MS: String(12 * 3_600_000),
        SUMMARY_REREAD_MS: '600000',
        WINDOW_SETTLE_MS: '600000',
      },
    });
  }
}

/** What the worker retries later is no violation; anything else is. */
function passing(error: unknown): undefined {
  if ((error as { kind?: unknown }).kind === 'transient') return undefined;
  throw error;
}

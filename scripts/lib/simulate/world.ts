import { AsyncLocalStorage } from 'node:async_hooks';
import { approveReconciliation } from '../../../src/reconciliation/approve-reconciliation.ts';
import { decideLateUsage } from '../../../src/late-usage/decide-late-usage.ts';
import { decideSubmission } from '../../../src/submissions/resolving/decide-submission.ts';
import { ingestUsageEvents } from '../../../src/usage/ingest-usage-events.ts';
import type { WantedJob } from '../../../src/invoice-guard/look-at-invoice.ts';
import { putCustomer } from '../../../src/customers/put-customer.ts';
import { putMeter } from '../../../src/meters/put-meter.ts';
import { recordAdjustment } from '../../../src/usage/record-adjustment.ts';
import { recordWebhook } from '../../../src/webhooks/record-webhook.ts';
import { onBoundary } from '../../../src/platform/boundary.ts';
import type { AdjustmentInput } from '../../../src/usage/adjustment.ts';
import type { CustomerChange } from '../../../src/customers/customer.ts';
import type { MeterChange } from '../../../src/meters/meter-definition.ts';
import type { LateUsageDecision } from '../../../src/submissions/late-usage.ts';
import type { UsageEvent } from '../../../src/usage/usage-event.ts';
import { toWebhookEvent, type WebhookKind } from '../../../src/webhooks/webhook.ts';
import { DAY_MS, HOUR_MS } from '../../../src/platform/durations.ts';
import { type Simulator, startSimulator } from '../../../packages/stripe-double/src/simulator.ts';
import type { Switches } from '../../../packages/stripe-double/src/switches.ts';
import type { Database } from '../../../src/platform/mongo/database.ts';
import { toUsageEventDocument } from '../../../src/usage/usage-events-store.ts';
import { recordingDeps } from '../../../src/daemon/serve-facts.ts';
import { jobHandlers } from '../../../src/daemon/job-handlers.ts';
import { decideDeps } from '../../../src/daemon/late-usage.ts';
import { reconciliationDeps } from '../../../src/daemon/reconciliation-deps.ts';
import type { JobParts } from '../../../src/daemon/job-parts.ts';
import { openJobParts } from '../torture/job-parts.ts';
import { SkippingClock } from '../torture/skipping-clock.ts';
import { letTimePass } from '../torture/target.ts';
import type { SentEvent } from './facts.ts';

const EVENT_AGE_MS_MAX = 34 * DAY_MS;
/** What a person is answered who decides about late usage that cannot be billed so, or not any more. */
const LATE_REFUSALS = ['policy_not_available', 'no_open_period', 'late_usage_decided'];
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
          findStored: (found) => stores.usageLog.findStored(found),
          keepRejected: (refused, at) => stores.rejectedEvents.keep(refused, at),
          unmeteredTypes: () => Promise.resolve([]),
          unmappedCustomers: () => Promise.resolve([]),
          mappedElsewhere: async () => new Map(),
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
      recordAdjustment(recordingDeps(this.#parts.stores, this.clock), {
        adjustment,
        ageMsMax: EVENT_AGE_MS_MAX,
        isNewCustomer: true,
      });
    if ((await this.#mayEnd(record, endsAfter)) === undefined) await record();
  }

  /** Takes a delivery of Stripe's as the route does, once its signature was verified; Stripe comes again otherwise. */
  async hear(event: object, kind: WebhookKind, endsAfter?: number): Promise<void> {
    const { stores, clock } = this.#parts;
    const verify = () => Promise.resolve(toWebhookEvent(event, kind));
    const deps = { verify, inbox: stores.webhookInbox, ring: () => {}, clock };
    const record = () => recordWebhook(deps, { kind, body: new Uint8Array(), signature: undefined });
    await this.#mayEnd(record, endsAfter);
  }

  /** Has the guard look at the invoices, and does what it wants done. */
  async guard(endsAfter?: number): Promise<void> {
    const result = await this.run('guard-invoices', { ...(endsAfter !== undefined && { endsAfter }) });
    const { wanted } = (result ?? { wanted: [] }) as { wanted: readonly WantedJob[] };
    for (const { job, input } of wanted) await this.run(job, { input: { ...input } });
  }

  /** A person lets an invoice go, whether or not the guard holds it. */
  async release(invoiceId: string): Promise<void> {
    const { stores, clock } = this.#parts;
    const at = new Date(clock.now());
    await stores.invoiceGuards.requestRelease(invoiceId, { actor: 'ops@example.com', reason: 'must go out', at });
  }

  /** A person decides what becomes of late usage. Returns false where that cannot be chosen, or was decided otherwise. */
  async decideLate(id: string, policy: LateUsageDecision): Promise<boolean> {
    try {
      await decideLateUsage(decideDeps(this.#parts), { id, policy, actor: 'ops@example.com' });
      return true;
    } catch (error) {
      const { kind, code } = error as { kind?: unknown; code?: unknown };
      if (kind !== 'transient' && !LATE_REFUSALS.includes(String(code))) throw error;
      return false;
    }
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
        SUMMARY_LAG_MAX_MS: String(12 * HOUR_MS),
        SUMMARY_REREAD_MS: '600000',
        WINDOW_SETTLE_MS: '600000',
        INVOICE_GUARD_MARGIN_MS: String(3_600_000),
      },
    });
  }
}

/** What the worker retries later is no violation; anything else is. */
function passing(error: unknown): undefined {
  if ((error as { kind?: unknown }).kind === 'transient') return undefined;
  throw error;
}

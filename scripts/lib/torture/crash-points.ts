import { DAY_MS, HOUR_MS } from '../../../src/platform/durations.ts';
import { DirtyHours, toPairText } from '../../../src/usage/dirty-hours-store.ts';
import { readBoundaryNames } from './boundaries.ts';
import { pause } from './load.ts';
import { callSimulator, meterBody, type Population, settle, settleAndCompare } from './target.ts';

const BATCHES = 4;
const JOBS = ['requeue-usage', 'aggregate-usage', 'submit-meter-events', 'reconcile-usage'];
/** Boundaries that a round comes to often: the crash comes at any of the first visits. */
const OFTEN = /^(submit|ingest\.(journal-written|events-inserted|journal-confirmed|events-appended))/;
const SKIPS = 3;
/**
 * Stages that a round of usage never comes to: each with a test of its own that stops at its boundaries, or (decide,
 * resend, reject) of a single change, after which there is nothing left to do.
 */
const ELSEWHERE = /^(webhook|mirror|catchup|late|correct|approve|guard|resolve|unbilled|decide|resend|reject)\./;
const LATE_MS_MAX = 5_000;
const POLL_MS = 100;

/** What brings a process to a boundary that a plain round never comes to; `after` undoes it. */
export interface Provocation {
  before(population: Population): Promise<void>;
  after?(population: Population): Promise<void>;
}

/** The boundaries that rounds of usage come to, in order. */
export function listCrashPoints(): string[] {
  return readBoundaryNames().filter((name) => !ELSEWHERE.test(name));
}

/**
 * Ends a process at every boundary of the sources, one after the other, and lets another one take over.
 * @returns what differs afterwards, and the boundaries that no process came to.
 */
export async function crashAtEveryBoundary(
  population: Population,
  options: { batchSize: number; say: (line: string) => void; only?: readonly string[] },
): Promise<string[]> {
  const names = options.only ?? listCrashPoints();
  const faults: string[] = [];
  // Usage that some provocations build on.
  await sendBatches(population, options.batchSize);
  faults.push(...(await settleAndCompare(population)));
  for (const name of names) {
    const found = await crashAt(name, population, options.batchSize);
    options.say(`  ${name}: ${found.length === 0 ? 'same end' : `${found.length} violations`}`);
    faults.push(...found.map((fault) => `${name}: ${fault}`));
    if (found.length > 0) break;
  }
  return faults;
}

async function crashAt(name: string, population: Population, batchSize: number): Promise<string[]> {
  const { target, mill } = population;
  const provocation = PROVOCATIONS[name];
  // First: what a provocation changes may ring for a job at once.
  await target.crashAt(name, OFTEN.test(name) ? mill.below(SKIPS) : 0);
  await provocation?.before(population);
  await sendBatches(population, batchSize);
  if (name.startsWith('replay.')) await replayOne(population);
  if (name.startsWith('adjust.')) await adjustSome(population);
  for (const job of JOBS) await target.run(job);
  const isReached = await comesToIt(population);
  await provocation?.after?.(population);
  return [...(isReached ? [] : ['no process came to it']), ...(await settleAndCompare(population))];
}

/** A journal entry is closed only seconds after its last commit. */
async function comesToIt({ target }: Population): Promise<boolean> {
  for (let waitedMs = 0; waitedMs < LATE_MS_MAX && !target.hasCrashed(); waitedMs += POLL_MS) await pause(POLL_MS);
  return target.hasCrashed();
}

async function sendBatches({ target, mill }: Population, batchSize: number): Promise<void> {
  for (let batches = 0; batches < BATCHES; batches += 1) {
    const batch = mill.mixedBatch(batchSize);
    await target.send(batch);
    mill.acknowledge(batch);
  }
}

async function replayOne({ target, mill }: Population): Promise<void> {
  const entry = await target.db.collection<{ _id: string }>('rejected_events').findOne({ code: 'quantity_invalid' });
  const any = entry ?? (await target.db.collection<{ _id: string }>('rejected_events').findOne({}));
  if (any === null) throw new Error('nothing was rejected');
  const event = mill.event();
  await target.replay(any._id, event);
  mill.acknowledge({ valid: [event] });
}

/** Of a meter with groups and of one without. */
async function adjustSome({ target, mill }: Population): Promise<void> {
  for (const meter of ['calls', 'requests']) {
    const adjustment = mill.adjustment(meter);
    await target.adjust(adjustment);
    mill.acknowledgeAdjustment(adjustment);
  }
}

/** A row that cannot be merged: its customer-hour fails, alone. */
const POISONED_ROW: Provocation = {
  before: async ({ target, mill }) => {
    const rows = target.db.collection<PoisonedRow>('usage_aggregates');
    const row = await rows.findOne({ '_id.meter': 'calls', eventCount: { $gt: 0 } });
    if (row === null) throw new Error('there is no row to poison');
    const event = mill.event({ customerId: row._id.customerId, hourMs: row._id.windowStart.getTime() });
    await target.send({ events: [event], valid: [event], conflicts: 0, rejected: 0 });
    mill.acknowledge({ valid: [event] });
    await rows.updateOne({ _id: row._id }, [{ $set: { kept: '$revision', revision: 'poison' } }]);
  },
  after: async ({ target }) => {
    const rows = target.db.collection('usage_aggregates');
    await rows.updateMany({ revision: 'poison' }, [{ $set: { revision: '$kept' } }, { $unset: 'kept' }]);
  },
};

interface PoisonedRow {
  _id: { customerId: string; meter: string; windowStart: Date };
}

/** An entry that a process left open a day ago. */
const ABANDONED_ENTRY: Provocation = {
  before: async ({ target, customers }) => {
    const row = await target.db.collection<PoisonedRow>('usage_aggregates').findOne({ '_id.customerId': customers[0] });
    const hour = Math.floor((row?._id.windowStart.getTime() ?? 0) / HOUR_MS);
    const pair = toPairText({ customerId: customers[0] ?? '', hour });
    await new DirtyHours(target.db).open([pair], new Date(0));
  },
};

const NEW_METER: Provocation = {
  before: async ({ target, meters, anchorMs }) => {
    const meter = { key: `extra_${meters.length}`, aggregation: 'sum' as const };
    meters.push(meter);
    await target.putMeter(meter.key, meterBody(meter, anchorMs));
    await target.run('sync-meters');
  },
};

const MOVED_ANCHOR: Provocation = {
  before: async ({ target, customers, anchorMs, meters, mill }) => {
    const days = 1 + meters.length + mill.below(20);
    const billingAnchor = new Date(anchorMs - days * DAY_MS).toISOString();
    await target.putCustomer(customers[0] ?? '', { billingAnchor, billingInterval: 'year' });
  },
};

/** Stripe loses a meter event; `foreign` adds somebody else's, so that no submission explains what is missing. */
export function lostAtStripe(foreign: boolean): Provocation {
  return {
    before: async ({ target }) => {
      await settle(target);
      const sent = {
        meter: 'calls',
        subject: 'window',
        state: { $in: ['accepted', 'duplicate', 'confirmed'] },
        value: { $gt: 20 },
        isLost: { $exists: false },
      };
      // One that was topped up stays as it is, and Stripe cancels it only once.
      const submissions = target.db.collection<SentSubmission>('meter_submissions');
      const lost = await submissions.findOneAndUpdate(sent, { $set: { isLost: true } });
      if (lost === null) throw new Error('there is no submission to lose');
      await callSimulator(target, '/v1/billing/meter_event_adjustments', {
        event_name: 'calls',
        type: 'cancel',
        'cancel[identifier]': lost._id,
      });
      if (!foreign) return;
      await callSimulator(target, '/v1/billing/meter_events', {
        event_name: 'calls',
        identifier: `foreign-${lost._id}`.slice(0, 100),
        timestamp: String(Math.floor(lost.timestamp.getTime() / 1000)),
        'payload[stripe_customer_id]': lost.stripeCustomerId,
        'payload[value]': '1.000001',
      });
    },
  };
}

interface SentSubmission {
  _id: string;
  isLost?: true;
  stripeCustomerId: string;
  timestamp: Date;
}

const PROVOCATIONS: Readonly<Record<string, Provocation>> = {
  'aggregate.pairs-set-aside': POISONED_ROW,
  'aggregate.entries-given-up': ABANDONED_ENTRY,
  'requeue.hours-recorded': NEW_METER,
  'requeue.meter-finished': NEW_METER,
  'requeue.planning-made-due': MOVED_ANCHOR,
  'requeue.customer-finished': MOVED_ANCHOR,
  'reconcile.plan-made': lostAtStripe(false),
  'reconcile.submission-replaced': lostAtStripe(false),
  'replace.successor-named': lostAtStripe(false),
  'reconcile.topped-up': lostAtStripe(true),
};

import { IN_FLIGHT_STATES } from '../../../src/submissions/submission.ts';
import { DAY_MS, HOUR_MS } from '../../../src/platform/durations.ts';
import type { Invoice } from '../../../packages/stripe-double/src/billing/invoice-object.ts';
import type { Database } from '../../../src/platform/mongo/database.ts';
import { compareHalves } from './compare-halves.ts';
import { compareInvoices } from './compare-invoices.ts';
import { FalseHeals } from './false-heals.ts';
import { Ledger } from './ledger.ts';
import { Week } from './week.ts';
import { World } from './world.ts';

/** Three days before a month ends, so that every week crosses the boundary of a calendar month. */
const START_MS = Date.parse('2026-06-28T09:17:00Z');
/** Periods that ended longer ago are compared on demand only. */
const FROM = new Date(START_MS - 31 * DAY_MS).toISOString();
/** Longer than the lag of event summaries may be, so that each round settles what the one before left open. */
const ROUND_MS = 13 * HOUR_MS;
const ROUNDS_MAX = 14;
/** What is held so long waits for a person. */
const RELEASE_ROUND = 8;
const JOBS = [
  'catch-up-events',
  'process-webhooks',
  'requeue-usage',
  'aggregate-usage',
  'submit-meter-events',
  'settle-late-usage',
  'resolve-submissions',
];

export interface SeedResult {
  readonly seed: number;
  readonly violations: readonly string[];
  readonly events: number;
  readonly submissions: number;
  readonly calls: number;
  /** Final invoices of a period. */
  readonly invoices: number;
  /** Invoices that the guard held. */
  readonly held: number;
  /** Entries of late usage. */
  readonly late: number;
  /** What was done, for whoever has to find out why the seed fails. */
  readonly diary: readonly string[];
}

/** Lives one seed's week, lets everything come to rest, and compares the two halves. */
export async function simulateSeed(
  place: { database: Database; mongodbUri: string },
  options: { seed: number; days: number },
): Promise<SeedResult> {
  const { seed, days } = options;
  const week = new Week(seed);
  const world = await World.open(place, { seed, startMs: START_MS, switches: week.switches });
  try {
    const violations = await liveAndCompare(world, week, days).catch((error: unknown) => [
      error instanceof Error ? (error.stack ?? error.message) : String(error),
    ]);
    if (violations.length > 0) week.diary.push(...(await ledgerOf(world)));
    return { seed, violations, ...(await tallyOf(world, week)), diary: week.diary };
  } finally {
    await world.close();
  }
}

async function tallyOf(
  { database: { db }, simulator }: World,
  week: Week,
): Promise<Omit<SeedResult, 'seed' | 'violations' | 'diary'>> {
  const invoices = simulator.invoices().filter(({ billing_reason: why, status }) => {
    return why !== 'subscription_create' && status !== 'draft';
  });
  return {
    events: week.facts.events.length,
    submissions: await db.collection('meter_submissions').countDocuments(),
    calls: simulator.requests()['POST /v1/billing/meter_events']?.requests ?? 0,
    invoices: invoices.length,
    held: await db.collection('invoice_guards').countDocuments({ heldAt: { $exists: true } }),
    late: await db.collection('late_usage').countDocuments(),
  };
}

async function liveAndCompare(world: World, week: Week, days: number): Promise<string[]> {
  await week.prepare(world);
  const falseHeals = new FalseHeals(world);
  await week.live(world, days, () => falseHeals.look());
  return comeToRest(world, week, falseHeals);
}

async function comeToRest(world: World, week: Week, falseHeals: FalseHeals): Promise<string[]> {
  world.simulator.clearFaults();
  world.simulator.switches.rejectLater = undefined;
  let differences: string[] = [];
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    world.clock.advance(ROUND_MS);
    for (const job of JOBS) await world.run(job);
    await world.guard();
    const reconciled = await world.run('reconcile-usage', { input: { from: FROM } });
    const { id, waiting } = reconciled as { id: string; waiting: number };
    // A surplus that could as well be another producer's is left to a person; here, every one is ours.
    if (waiting > 0) await world.approve(id);
    await falseHeals.look();
    if (falseHeals.found.length > 0) return falseHeals.found;
    await decideDoubts(world);
    if (round >= RELEASE_ROUND) await releaseHeld(world);
    const ledger = await Ledger.read(world);
    differences = [
      ...(await compareHalves(world, week, ledger)),
      ...(await compareInvoices(world, week, ledger)),
      ...(await findWork(world)),
    ];
    if (differences.length === 0) return [];
  }
  return differences;
}

/** What the daemon leaves to a person, a person decides: by what Stripe really counted. */
async function decideDoubts(world: World): Promise<void> {
  const undecided = await world.database.db
    .collection<{ _id: string }>('meter_submissions')
    .find({ state: 'in_doubt', reason: 'undecided' })
    .toArray();
  const events = world.simulator.meterEvents();
  for (const { _id } of undecided) {
    const isCounted = events.some(({ identifier, outcome }) => identifier === _id && outcome === 'counted');
    await world.decide(_id, isCounted);
  }
}

/** Where a difference is left to a person (another invoice of that time is final), so is the invoice that shows it. */
async function releaseHeld(world: World): Promise<void> {
  const guards = world.database.db.collection<{ _id: string }>('invoice_guards');
  for (const { _id } of await guards.find({ state: 'held' }).toArray()) await world.release(_id);
}

/** Work that is left: nothing may wait unseen once everything had its time. */
async function findWork({ database: { db } }: World): Promise<string[]> {
  const open = await db
    .collection('meter_submissions')
    .find({ state: { $in: IN_FLIGHT_STATES } })
    .toArray();
  const held = await db
    .collection('invoice_guards')
    .find({ state: { $in: ['holding', 'held', 'releasing'] } })
    .toArray();
  return [...open, ...held].map(({ _id, state }) => `${String(_id)} is still ${String(state)}`);
}

function invoiceText({ id, customer, billing_reason: why, status, status_transitions: at, lines }: Invoice): string {
  const texts = lines.data.map(
    ({ description, period }) => `${description ?? ''} [${toText(period.start)}, ${toText(period.end)})`,
  );
  return `${id} ${customer} ${why ?? ''} ${status ?? ''} ${toText(at.finalized_at ?? 0)}: ${texts.join('; ')}`;
}

function toText(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}

/** Both halves in full, for whoever has to find out why the seed fails. */
async function ledgerOf({ database: { db }, simulator }: World): Promise<string[]> {
  const submissions = await db.collection('meter_submissions').find().sort({ _id: 1 }).toArray();
  const events = simulator.meterEvents();
  return [
    'SUBMISSIONS',
    ...submissions.map((document) => JSON.stringify(document)),
    'LATE USAGE',
    ...(await db.collection('late_usage').find().sort({ _id: 1 }).toArray()).map((entry) => JSON.stringify(entry)),
    'GUARDS',
    ...(await db.collection('invoice_guards').find().toArray()).map((guard) => JSON.stringify(guard)),
    'CALENDARS',
    ...(await db.collection('customers').find().toArray()).map((customer) => JSON.stringify(customer)),
    'INVOICES',
    ...simulator.invoices().map((invoice) => invoiceText(invoice)),
    'STRIPE',
    ...events.map((event) => JSON.stringify(event)),
  ];
}

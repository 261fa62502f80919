import type { Database } from '../../../src/storage/database.ts';
import { compareHalves, FalseHeals } from './compare-halves.ts';
import { Week } from './week.ts';
import { World } from './world.ts';

const HOUR_MS = 3_600_000;
/** Three days before a month ends, so that every week crosses the boundary of a calendar month. */
const START_MS = Date.parse('2026-06-28T09:17:00Z');
/** Periods that ended longer ago are compared on demand only. */
const FROM = new Date(START_MS - 31 * 24 * HOUR_MS).toISOString();
/** Longer than the lag of event summaries may be, so that each round settles what the one before left open. */
const ROUND_MS = 13 * HOUR_MS;
const ROUNDS_MAX = 14;
const JOBS = [
  'requeue-usage',
  'aggregate-usage',
  'submit-meter-events',
  'catch-up-events',
  'process-webhooks',
  'settle-late-usage',
  'resolve-submissions',
];

export interface SeedResult {
  readonly seed: number;
  readonly violations: readonly string[];
  readonly events: number;
  readonly submissions: number;
  readonly calls: number;
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
    const submissions = await place.database.db.collection('meter_submissions').countDocuments();
    const calls = world.simulator.requests()['POST /v1/billing/meter_events']?.requests ?? 0;
    return { seed, violations, events: week.sent.length, submissions, calls, diary: week.diary };
  } finally {
    await world.close();
  }
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
    const reconciled = await world.run('reconcile-usage', { input: { from: FROM } });
    const { id, waiting } = reconciled as { id: string; waiting: number };
    // A surplus that could as well be another producer's is left to a person; here, every one is ours.
    if (waiting > 0) await world.approve(id);
    await falseHeals.look();
    if (falseHeals.found.length > 0) return falseHeals.found;
    await decideDoubts(world);
    differences = [...(await compareHalves(world, week)), ...(await findWork(world))];
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

/** Work that is left: nothing may wait unseen once everything had its time. */
async function findWork({ database: { db } }: World): Promise<string[]> {
  const open = await db
    .collection('meter_submissions')
    .find({ state: { $in: ['planned', 'sending', 'in_doubt'] } })
    .toArray();
  return open.map(({ _id, state }) => `${String(_id)} is still ${String(state)}`);
}

/** Both halves in full, for whoever has to find out why the seed fails. */
async function ledgerOf({ database: { db }, simulator }: World): Promise<string[]> {
  const submissions = await db.collection('meter_submissions').find().sort({ _id: 1 }).toArray();
  const events = simulator.meterEvents();
  return [
    'SUBMISSIONS',
    ...submissions.map((document) => JSON.stringify(document)),
    'STRIPE',
    ...events.map((event) => JSON.stringify(event)),
  ];
}

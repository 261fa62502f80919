import { HOUR_MS, MINUTE_MS } from '../../../src/platform/durations.ts';
import { settleAndCompare } from './target.ts';
import type { InProcessPopulation } from './stack.ts';
import type { SentEvent } from './usage-mill.ts';

const ROUTE = 'POST /v1/billing/meter_events';
/** 30 percent in all. */
const FAULT_PROBABILITY = 0.05;
const FAULTS = ['tooManyRequests', 'conflict', 'errorBefore', 'errorAfter', 'answerLost', 'resetBefore'] as const;
const ROUNDS_MAX = 30;
const BATCH = 500;

/**
 * Submits windows while Stripe fails three calls in ten, in every way it can.
 * @returns what differs, and the meter events that Stripe counted more or less than once.
 */
export async function submitThroughFaults(
  population: InProcessPopulation,
  options: { submissions: number; say: (line: string) => void },
): Promise<string[]> {
  const { target, simulator, clock } = population;
  const submissions = target.db.collection<{ _id: string; state: string; attempts: number }>('meter_submissions');
  await makeWindows(population, options.submissions);
  await target.run('aggregate-usage');
  const plan = Object.fromEntries(FAULTS.map((kind) => [kind, { probability: FAULT_PROBABILITY, routes: [ROUTE] }]));
  simulator.setFaults(plan);
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    await target.run('submit-meter-events');
    if ((await submissions.countDocuments({ state: { $nin: ['accepted', 'duplicate'] } })) === 0) break;
    clock.advance(MINUTE_MS);
  }
  simulator.clearFaults();
  const faults = await settleAndCompare(population);
  const all = await submissions.find().toArray();
  const counted = new Map<string, number>();
  for (const { identifier } of simulator.meterEvents()) counted.set(identifier, (counted.get(identifier) ?? 0) + 1);
  for (const { _id } of all) {
    const times = counted.get(_id) ?? 0;
    if (times !== 1) faults.push(`${_id} was counted ${times} times`);
  }
  if (counted.size !== all.length) faults.push(`${counted.size} identifiers at Stripe, ${all.length} submissions`);
  if (all.length < options.submissions) faults.push(`only ${all.length} submissions were made`);
  const attempts = all.reduce((total, submission) => total + submission.attempts, 0);
  options.say(`  ${all.length} submissions, ${attempts} attempts`);
  return faults;
}

/** One event in every customer's hour, so that each window becomes a submission of each additive meter. */
async function makeWindows(
  { target, mill, customers, clock }: InProcessPopulation,
  submissions: number,
): Promise<void> {
  const hours = Math.ceil(submissions / customers.length / 2);
  const endMs = Math.floor(clock.now() / HOUR_MS) * HOUR_MS;
  let valid: SentEvent[] = [];
  for (const customerId of customers) {
    for (let hour = 1; hour <= hours; hour += 1) {
      valid.push(mill.event({ customerId, hourMs: endMs - hour * HOUR_MS }));
      if (valid.length < BATCH) continue;
      await target.send({ events: valid, valid, conflicts: 0, rejected: 0 });
      mill.acknowledge({ valid });
      valid = [];
    }
  }
  await target.send({ events: valid, valid, conflicts: 0, rejected: 0 });
  mill.acknowledge({ valid });
}

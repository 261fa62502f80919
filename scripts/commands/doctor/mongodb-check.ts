import type { Config } from '../../../src/config.ts';
import { type Database, openDatabase } from '../../../src/storage/database.ts';
import { listMissingIndexes, readDeployment } from '../../../src/storage/deployment.ts';
import { MeterSubmissions } from '../../../src/storage/meter-submissions.ts';
import { SubmittingPauses } from '../../../src/storage/submitting-pause.ts';
import { EXIT } from '../../lib/exit-codes.ts';
import { type CheckContext, type Problem, skewProblem } from './check.ts';

const CUSTOMERS_SHOWN_MAX = 5;
const BATCH = 1_000;

/** MongoDB answers, is a replica set, and its clock is ours. */
export async function checkMongodb({ config }: CheckContext): Promise<Problem[]> {
  return withDatabase(config, async ({ db }) => {
    const beforeMs = Date.now();
    const { replicaSet, isSharded, serverTimeMs } = await readDeployment(db);
    const problems: Problem[] = [];
    if (replicaSet === undefined && !isSharded) {
      problems.push({
        what: 'it is a standalone server and no replica set: nothing it acknowledges is safe',
        todo: 'start mongod with --replSet and run rs.initiate() once; one member is enough',
        exitCode: EXIT.failure,
      });
    }
    const read = { theirMs: serverTimeMs, beforeMs, afterMs: Date.now(), resolutionMs: 0 };
    const skew = skewProblem("MongoDB's", read);
    if (skew !== undefined) problems.push({ what: skew, todo: 'synchronise both by NTP', exitCode: EXIT.failure });
    return problems;
  });
}

/** Every index is there. */
export async function checkIndexes({ config }: CheckContext): Promise<Problem[]> {
  return withDatabase(config, async ({ db }) =>
    (await listMissingIndexes(db)).map((name) => ({
      what: `the index ${name} is missing`,
      todo: 'start the daemon once: it makes what is missing',
      exitCode: EXIT.failure,
    })),
  );
}

/** Nothing waits for a person: no blocked submission, and not all of them. */
export async function checkSubmissions({ config }: CheckContext): Promise<Problem[]> {
  return withDatabase(config, async ({ db }) => {
    const submissions = new MeterSubmissions(db);
    const problems = await pauseProblems(db);
    for (const { reason, count } of await submissions.blockedReasons()) {
      const customers = reason === 'customer_not_mapped' ? await unmappedCustomers(submissions) : '';
      problems.push({
        what: `${count} ${count === 1 ? 'submission is' : 'submissions are'} blocked: ${reason}${customers}`,
        todo:
          reason === 'customer_not_mapped'
            ? 'map each with `tallystick customers put <id> \'{"stripeCustomerId":"cus_…"}\'`'
            : 'docs/errors.md and docs/runbook.md say what each reason needs',
        exitCode: EXIT.failure,
      });
    }
    return problems;
  });
}

async function pauseProblems(db: Database['db']): Promise<Problem[]> {
  const pause = await new SubmittingPauses(db).find();
  if (pause === undefined) return [];
  const why = pause.reason === undefined ? '' : ` (${pause.reason})`;
  return [
    {
      what: `submitting is paused since ${pause.pausedAt.toISOString()}${why}: nothing is sent to Stripe`,
      todo: 'run `tallystick submit --resume`; after a restore from a backup see docs/restore.md first',
      exitCode: EXIT.failure,
    },
  ];
}

async function unmappedCustomers(submissions: MeterSubmissions): Promise<string> {
  const names = new Set<string>();
  for await (const batch of submissions.inState('blocked', BATCH)) {
    for (const { customerId, reason } of batch) if (reason === 'customer_not_mapped') names.add(customerId);
    if (names.size > CUSTOMERS_SHOWN_MAX) break;
  }
  const more = names.size > CUSTOMERS_SHOWN_MAX ? ', …' : '';
  return ` (${[...names].slice(0, CUSTOMERS_SHOWN_MAX).join(', ')}${more})`;
}

async function withDatabase<T>(config: Config, work: (database: Database) => Promise<T>): Promise<T> {
  const database = openDatabase({ uri: config.mongodbUri, name: config.mongodbDatabase });
  try {
    return await work(database);
  } finally {
    await database.close();
  }
}

import type { EmbeddedMongo, EmbeddedMongoNode } from '../../../packages/dev-services/src/mongo.ts';
import type { Database } from '../../../src/platform/mongo/database.ts';
import { Load, pause } from './load.ts';
import type { DaemonPopulation } from './stack.ts';
import { letTimePass, settleAndCompare } from './target.ts';

/** A journal entry is closed within this time of its last commit. */
const ENTRY_MS_MAX = 5_000;
const ELECTION_POLL_MS = 250;
const ELECTION_MS_MAX = 60_000;

/**
 * Kills the primary of a three-node set under load, several times, and then stops both secondaries for a while.
 * @returns what differs afterwards, and answers other than 2xx and 503 with `Retry-After`.
 */
export async function losePrimary(
  population: DaemonPopulation,
  options: { mongo: EmbeddedMongo; kills: number; lonelyMs: number; say: (line: string) => void },
): Promise<string[]> {
  const { target } = population;
  const { mongo, kills, lonelyMs, say } = options;
  const load = new Load(population);
  for (let kill = 0; kill < kills; kill += 1) {
    await target.ring('aggregate-usage');
    await target.ring('submit-meter-events');
    const primary = await primaryOf(target.db, mongo);
    await primary.kill();
    await pause(1_000);
    const successor = await primaryOf(target.db, mongo);
    say(`  primary ${primary.port} killed, ${successor.port} elected, ${load.requests} requests so far`);
    await primary.restart();
    await pause(2_000);
  }
  const primary = await primaryOf(target.db, mongo);
  const secondaries = mongo.nodes.filter((node) => node !== primary);
  for (const node of secondaries) await node.kill();
  await pause(lonelyMs);
  for (const node of secondaries) await node.restart();
  await primaryOf(target.db, mongo);
  await pause(3_000);
  await load.stop();
  // Entries whose inserts had no clear answer stay open for a day, and are derived in every run until then.
  await pause(ENTRY_MS_MAX);
  await letTimePass(target.db);
  const statuses = [...target.statuses].map(([status, count]) => `${count} × ${status}`).join(', ');
  say(`  both secondaries away for ${lonelyMs / 1000} s; ${load.requests} requests, answers ${statuses}`);
  return [...target.violations, ...(await settleAndCompare(population))];
}

/** Waits until the set has a primary. */
async function primaryOf(db: Database['db'], mongo: EmbeddedMongo): Promise<EmbeddedMongoNode> {
  for (let waitedMs = 0; waitedMs < ELECTION_MS_MAX; waitedMs += ELECTION_POLL_MS) {
    const hello = await db
      .admin()
      .command({ hello: 1 })
      .catch(() => undefined);
    const port = Number(String(hello?.['primary'] ?? '').split(':')[1]);
    const node = mongo.nodes.find((candidate) => candidate.port === port && candidate.pid !== undefined);
    if (node !== undefined && hello?.['isWritablePrimary'] === true) return node;
    await pause(ELECTION_POLL_MS);
  }
  throw new Error(`the replica set has no primary after ${ELECTION_MS_MAX} ms`);
}

import type { Db } from 'mongodb';
import { translated } from './errors.ts';
import { INDEXES } from './indexes.ts';

/** What kind of MongoDB this is. */
export interface Deployment {
  /** Undefined for a single server that belongs to no replica set: it has no majority and no sessions to rely on. */
  readonly replicaSet?: string;
  readonly isSharded: boolean;
  /** The server's clock when it answered. */
  readonly serverTimeMs: number;
}

/** Asks the server what it is. @throws DaemonError `store_unavailable` when it does not answer. */
export async function readDeployment(db: Db): Promise<Deployment> {
  const hello = await translated(db.command({ hello: 1 }, { readPreference: 'primaryPreferred' }));
  const { setName, msg, localTime } = hello as { setName?: string; msg?: string; localTime: Date };
  return {
    ...(setName !== undefined && { replicaSet: setName }),
    isSharded: msg === 'isdbgrid',
    serverTimeMs: localTime.getTime(),
  };
}

/**
 * Indexes that should exist and do not, as `collection {keys}`. None are missing from a database in which no daemon was
 * ever started: the first start makes them.
 */
export async function listMissingIndexes(db: Db): Promise<string[]> {
  const collections = await translated(db.listCollections({}, { nameOnly: true }).toArray());
  if (collections.length === 0) return [];
  const names = new Set(collections.map(({ name }) => name));
  const missing: string[] = [];
  for (const collection of new Set(INDEXES.map((rule) => rule.collection))) {
    const present = new Set(names.has(collection) ? await readKeys(db, collection) : []);
    for (const { key } of INDEXES.filter((rule) => rule.collection === collection)) {
      if (!present.has(JSON.stringify(key))) missing.push(`${collection} ${JSON.stringify(key)}`);
    }
  }
  return missing;
}

async function readKeys(db: Db, collection: string): Promise<string[]> {
  const indexes = await translated(db.collection(collection).indexes());
  return indexes.map(({ key }) => JSON.stringify(key));
}

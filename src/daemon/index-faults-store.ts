import { type Db, type IndexDescriptionInfo, MongoServerError } from 'mongodb';
import { configurationInvalid } from '../platform/errors.ts';
import { isDuplicateKey, toStorageError, translated } from '../platform/mongo/errors.ts';
import type { IndexRule } from './indexes-store.ts';

/** An index that is not as it should be. */
export interface IndexFault {
  /** `collection {keys}` */
  readonly index: string;
  /** As a clause that follows it: `is missing`. */
  readonly detail: string;
}

/** Options that change what an index means. */
const OPTIONS = ['unique', 'sparse', 'hidden', 'partialFilterExpression', 'expireAfterSeconds', 'collation'] as const;
/** The server's code for dropping an index that is not there. */
const INDEX_NOT_FOUND_CODE = 27;

/** The indexes of a collection that exist. */
type Stored = readonly IndexDescriptionInfo[];

/**
 * Creates what is missing, and drops and creates what has other options: a person may have made it by hand, or an older
 * version of ours.
 * @throws DaemonError `configuration_invalid` when stored documents break a unique index.
 */
export async function ensureRules(
  db: Db,
  rules: readonly IndexRule[],
  onMended: (fault: IndexFault) => void = () => {},
): Promise<void> {
  const storedOf = await readStored(db, rules);
  for (const rule of rules) {
    const { fault, candidate } = judge(rule, storedOf.get(rule.collection) ?? []);
    if (fault === undefined) continue;
    if (candidate?.name !== undefined) {
      onMended(fault);
      await drop(db, rule.collection, candidate.name);
    }
    await create(db, rule);
  }
}

/**
 * Indexes that are missing, that have other options, or that are unique and not ours. There are none in a database in
 * which no daemon was ever started: the first start makes them.
 */
export async function findIndexFaults(db: Db, rules: readonly IndexRule[]): Promise<IndexFault[]> {
  const storedOf = await readStored(db, rules);
  if (storedOf.size === 0) return [];
  const faults = rules.map((rule) => judge(rule, storedOf.get(rule.collection) ?? []).fault);
  return [...faults.filter((fault) => fault !== undefined), ...strangers(storedOf, rules)];
}

/** The indexes of the collections that rules are about, of those collections that exist. */
async function readStored(db: Db, rules: readonly IndexRule[]): Promise<Map<string, Stored>> {
  const collections = await translated(db.listCollections({}, { nameOnly: true }).toArray());
  const wanted = new Set(rules.map((rule) => rule.collection));
  const names = collections.map(({ name }) => name).filter((name) => wanted.has(name));
  const found = await Promise.all(names.map(async (name) => [name, await readIndexes(db, name)] as const));
  return new Map(found);
}

function readIndexes(db: Db, collection: string): Promise<Stored> {
  return translated(db.collection(collection).indexes());
}

/** What is wrong about one rule, and the stored index that stands in its place. */
function judge(rule: IndexRule, stored: Stored): { fault?: IndexFault; candidate?: IndexDescriptionInfo } {
  const index = `${rule.collection} ${JSON.stringify(rule.key)}`;
  const candidates = stored.filter(({ key }) => isSame(key, rule.key));
  if (candidates.some((candidate) => differenceOf(rule, candidate) === undefined)) return {};
  const [candidate] = candidates;
  const detail = candidate === undefined ? undefined : differenceOf(rule, candidate);
  if (candidate === undefined || detail === undefined) return { fault: { index, detail: 'is missing' } };
  return { fault: { index, detail }, candidate };
}

/** Which options differ, as a clause; undefined when none do. */
function differenceOf(rule: IndexRule, stored: IndexDescriptionInfo): string | undefined {
  const told = OPTIONS.flatMap((name) => {
    const [is, needed] = [toText(stored[name]), toText(rule.options?.[name])];
    return is === needed ? [] : [`${name} ${is} instead of ${needed}`];
  });
  return told.length === 0 ? undefined : `has ${told.join(', ')}`;
}

/** `false` is the same as an option that is not there. */
function toText(option: unknown): string {
  return option === undefined || option === false ? 'none' : JSON.stringify(option);
}

/** A unique index of somebody else's refuses what has to be stored. */
function strangers(storedOf: ReadonlyMap<string, Stored>, rules: readonly IndexRule[]): IndexFault[] {
  return [...storedOf].flatMap(([collection, stored]) =>
    stored
      .filter(({ unique }) => unique === true)
      .filter(({ key }) => !rules.some((rule) => rule.collection === collection && isSame(rule.key, key)))
      .map(({ key }) => ({
        index: `${collection} ${JSON.stringify(key)}`,
        detail: 'is unique and none of ours: it may refuse what has to be stored, so drop it',
      })),
  );
}

async function drop(db: Db, collection: string, name: string): Promise<void> {
  try {
    await db.collection(collection).dropIndex(name);
  } catch (error) {
    // Another process that starts at the same moment was faster.
    if (!(error instanceof MongoServerError) || error.code !== INDEX_NOT_FOUND_CODE) throw toStorageError(error);
  }
}

async function create(db: Db, rule: IndexRule): Promise<void> {
  try {
    await db.collection(rule.collection).createIndex(rule.key, rule.options ?? {});
  } catch (error) {
    if (!isDuplicateKey(error)) throw toStorageError(error);
    const detail =
      `holds documents in ${rule.collection} that break its unique index ${JSON.stringify(rule.key)}: the cause names ` +
      'the value; remove or correct what does not belong there, and start again';
    throw configurationInvalid([{ name: 'MONGODB_DATABASE', detail }], error);
  }
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

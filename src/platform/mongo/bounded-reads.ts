import type { Abortable, Collection, Db, Document } from 'mongodb';
import { readScope } from '../read-scope.ts';

interface ReadOptions extends Abortable {
  maxTimeMS?: number;
}

/**
 * The options of a read that belongs to a request: it ends with the request, on the server as well (the driver closes
 * the connection of a statement that is given up, and the server ends what nobody waits for), and takes no longer than
 * is left of the request's time. Others stay as they are.
 * @throws the reason of the scope when it is over already: so a loop of statements ends, whatever it is made of.
 */
function bounded<T extends ReadOptions>(options: T | undefined): T | undefined {
  const scope = readScope();
  if (scope === undefined) return options;
  scope.signal.throwIfAborted();
  const maxTimeMS = Math.max(1, Math.min(options?.maxTimeMS ?? Number.POSITIVE_INFINITY, scope.leftMs()));
  return { ...(options as T), signal: scope.signal, maxTimeMS: Math.ceil(maxTimeMS) };
}

/** Binds every read of a database to the scope it is made in. Writes are not bound: half a request is not undone. */
export function boundReads(db: Db): Db {
  const collectionOf = db.collection.bind(db);
  db.collection = <T extends Document>(...of: Parameters<typeof collectionOf>): Collection<T> =>
    boundCollection(collectionOf<T>(...of));
  return db;
}

function boundCollection<T extends Document>(collection: Collection<T>): Collection<T> {
  const find = collection.find.bind(collection);
  const findOne = collection.findOne.bind(collection);
  const aggregate = collection.aggregate.bind(collection);
  const countDocuments = collection.countDocuments.bind(collection);
  collection.find = ((filter: Parameters<typeof find>[0], options?: ReadOptions) =>
    find(filter, bounded(options))) as Collection<T>['find'];
  collection.findOne = ((filter: Parameters<typeof findOne>[0], options?: ReadOptions) =>
    findOne(filter, bounded(options))) as Collection<T>['findOne'];
  collection.aggregate = (pipeline?: Document[], options?: ReadOptions) => aggregate(pipeline, bounded(options));
  collection.countDocuments = (filter?: Parameters<typeof countDocuments>[0], options?: ReadOptions) =>
    countDocuments(filter, bounded(options));
  return collection;
}

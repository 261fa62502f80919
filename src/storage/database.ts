import { type ClientSession, type Db, MongoClient } from 'mongodb';
import { boundReads } from './bounded-reads.ts';

export interface DatabaseSettings {
  readonly uri: string;
  readonly name: string;
}

/** How long an operation may run on the server; sockets are given a little longer. */
export const OPERATION_MS_MAX = 60_000;

/** How every write is acknowledged, as a command says it. */
export const DURABLE = { w: 'majority', j: true, wtimeout: 10_000 } as const;

export interface Database {
  readonly client: MongoClient;
  readonly db: Db;
  close(): Promise<void>;
}

/**
 * Opens MongoDB. Every read is a majority read and every write is acknowledged by a majority and the journal: what this
 * process has seen or promised survives the loss of the primary. Connects lazily, so that the daemon starts (and says
 * that it is not ready) while MongoDB is away.
 */
export function openDatabase(settings: DatabaseSettings): Database {
  const client = new MongoClient(settings.uri, {
    appName: 'tallystick',
    readConcern: { level: 'majority' },
    writeConcern: { w: DURABLE.w, journal: DURABLE.j, wtimeoutMS: DURABLE.wtimeout },
    readPreference: 'primary',
    retryWrites: true,
    ignoreUndefined: true,
    maxPoolSize: 40,
    serverSelectionTimeoutMS: 5_000,
    waitQueueTimeoutMS: 10_000,
    connectTimeoutMS: 5_000,
    socketTimeoutMS: OPERATION_MS_MAX + 10_000,
  });
  return { client, db: boundReads(client.db(settings.name)), close: () => client.close() };
}

/** Runs `work` in one explicit, causally consistent session: it sees its own writes and never goes back in time. */
export async function withCausalSession<T>(db: Db, work: (session: ClientSession) => Promise<T>): Promise<T> {
  const session = db.client.startSession({ causalConsistency: true });
  try {
    return await work(session);
  } finally {
    await session.endSession();
  }
}

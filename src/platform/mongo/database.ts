import { type ClientSession, type Db, MongoClient, type MongoClientOptions } from 'mongodb';
import { configurationInvalid } from '../errors.ts';
import { boundReads } from './bounded-reads.ts';

export interface DatabaseSettings {
  readonly uri: string;
  readonly name: string;
}

/** How long an operation may run on the server; sockets are given a little longer. */
export const OPERATION_MS_MAX = 60_000;

/**
 * A monitor that hears nothing for as long as its server may wait (10 s) and a connection may take (5 s) gives the server
 * up, and with it every connection that waits for an answer. A connection that is silent alone is found by its own limits:
 * idle ones are probed by the kernel, and not kept for long.
 */
const CONNECT_MS_MAX = 5_000;
const HEARTBEAT_MS = 10_000;
const KEEP_ALIVE_MS = 10_000;
const IDLE_MS_MAX = 60_000;

/** How every write is acknowledged, as a command says it. */
export const DURABLE = { w: 'majority', j: true, wtimeout: 10_000 } as const;

export interface Database {
  readonly client: MongoClient;
  readonly db: Db;
  close(): Promise<void>;
}

/** What an address may not change. */
const OPTIONS: MongoClientOptions = {
  appName: 'tallystick',
  readConcern: { level: 'majority' },
  writeConcern: { w: DURABLE.w, journal: DURABLE.j, wtimeoutMS: DURABLE.wtimeout },
  readPreference: 'primary',
  retryWrites: true,
  ignoreUndefined: true,
  maxPoolSize: 40,
  serverSelectionTimeoutMS: 5_000,
  waitQueueTimeoutMS: 10_000,
  connectTimeoutMS: CONNECT_MS_MAX,
  heartbeatFrequencyMS: HEARTBEAT_MS,
  keepAliveInitialDelay: KEEP_ALIVE_MS,
  maxIdleTimeMS: IDLE_MS_MAX,
  socketTimeoutMS: OPERATION_MS_MAX + 10_000,
};

/**
 * Opens MongoDB. Every read is a majority read and every write is acknowledged by a majority and the journal: what this
 * process has seen or promised survives the loss of the primary. Connects lazily: what the server is, and whether it
 * answers, is asked by `requireLedger`.
 * @throws DaemonError `configuration_invalid` for an address that the driver does not take, or that weakens any of this.
 */
export function openDatabase(settings: DatabaseSettings): Database {
  const client = openClient(settings.uri);
  const weakened = weakenedBy(client);
  if (weakened === undefined) return { client, db: boundReads(client.db(settings.name)), close: () => client.close() };
  void client.close();
  throw misaddressed(`must not change the ${weakened}: what was acknowledged could be lost`);
}

function openClient(uri: string): MongoClient {
  try {
    return new MongoClient(uri, OPTIONS);
  } catch (cause) {
    // The driver's own words name an option or a form, and never hold the password.
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw misaddressed(`is no address that the driver takes: ${reason}`, cause);
  }
}

/** Some options of an address win over ours, under one of their names: so what came of both is looked at. */
function weakenedBy({ options }: MongoClient): string | undefined {
  const { writeConcern, readConcern, readPreference, retryWrites } = options;
  const isDurable = writeConcern.w === DURABLE.w && writeConcern.journal === DURABLE.j;
  if (!isDurable || writeConcern.wtimeoutMS !== DURABLE.wtimeout) return 'write concern';
  if (readConcern.level !== 'majority') return 'read concern';
  if (readPreference.mode !== 'primary') return 'read preference';
  return retryWrites ? undefined : 'repetition of writes';
}

function misaddressed(detail: string, cause?: unknown): ReturnType<typeof configurationInvalid> {
  return configurationInvalid([{ name: 'MONGODB_URI', detail }], cause);
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

import type { Db } from 'mongodb';
import { configurationInvalid } from '../errors.ts';
import { translated } from './errors.ts';
import { refuseNewerSchema } from './installation.ts';

/** What kind of MongoDB this is. */
export interface Deployment {
  /** Undefined for a single server that belongs to no replica set: it has no majority and no sessions to rely on. */
  readonly replicaSet?: string;
  readonly isSharded: boolean;
  /** Which commands it knows, as a number that rises with its version. */
  readonly wireVersion: number;
  /** The server's clock when it answered. */
  readonly serverTimeMs: number;
}

/** Asks the server what it is. @throws DaemonError `store_unavailable` when it does not answer. */
export async function readDeployment(db: Db): Promise<Deployment> {
  const hello = await translated(db.command({ hello: 1 }, { readPreference: 'primaryPreferred' }));
  const { setName, msg, localTime, maxWireVersion } = hello as {
    setName?: string;
    msg?: string;
    localTime: Date;
    maxWireVersion?: number;
  };
  return {
    ...(setName !== undefined && { replicaSet: setName }),
    isSharded: msg === 'isdbgrid',
    wireVersion: maxWireVersion ?? 0,
    serverTimeMs: localTime.getTime(),
  };
}

/** The wire version of MongoDB 6.0. */
const WIRE_VERSION_MIN = 17;

/**
 * Makes sure that this MongoDB can hold the ledger, before anything is written to it: a replica set (or a sharded
 * cluster), new enough, with data that this version of ours understands.
 * @throws DaemonError `configuration_invalid` that says what to do; `store_unavailable` when it does not answer,
 *   `store_access_refused`.
 */
export async function requireLedger(db: Db): Promise<void> {
  const { replicaSet, isSharded, wireVersion } = await readDeployment(db).catch(toFileFault);
  if (replicaSet === undefined && !isSharded) {
    const detail =
      'names a standalone server and no replica set: what it acknowledges can be lost. Start mongod with --replSet and ' +
      'run rs.initiate() once; one member is enough';
    throw configurationInvalid([{ name: 'MONGODB_URI', detail }]);
  }
  if (wireVersion < WIRE_VERSION_MIN) {
    throw configurationInvalid([{ name: 'MONGODB_URI', detail: 'names a MongoDB that is older than 6.0: upgrade it' }]);
  }
  await refuseNewerSchema(db);
}

/** Certificates are read when the driver connects: a file that is not there is a setting that is wrong. */
function toFileFault(error: unknown): never {
  const code = error instanceof Error && 'syscall' in error && 'code' in error ? String(error.code) : undefined;
  if (code !== 'ENOENT' && code !== 'EACCES' && code !== 'EISDIR') throw error;
  throw configurationInvalid([{ name: 'MONGODB_URI', detail: `names a file that cannot be read (${code})` }], error);
}

import {
  MongoBulkWriteError,
  MongoError,
  MongoNetworkError,
  MongoServerError,
  MongoServerSelectionError,
} from 'mongodb';
import { DaemonError } from '../errors.ts';

/** The server's code for a violated unique index. */
export const DUPLICATE_KEY_CODE = 11000;
/** The server's code for creating a collection a second time. */
const COLLECTION_EXISTS_CODE = 48;

/** Whether a write failed because a document with this key exists. */
export function isDuplicateKey(error: unknown): boolean {
  return error instanceof MongoServerError && error.code === DUPLICATE_KEY_CODE;
}

/** Whether a collection could not be created because it exists. */
export function isExistingCollection(error: unknown): boolean {
  return error instanceof MongoServerError && error.code === COLLECTION_EXISTS_CODE;
}

/** Whether each failure of a bulk write is a duplicate key and its write concern was met. */
export function hasOnlyDuplicateKeys(error: unknown): error is MongoBulkWriteError {
  return (
    error instanceof MongoBulkWriteError &&
    error.result.getWriteConcernError() === undefined &&
    error.result.getWriteErrors().length > 0 &&
    error.result.getWriteErrors().every((writeError) => writeError.code === DUPLICATE_KEY_CODE)
  );
}

/**
 * Translates an error of the driver. A write that failed here may still have happened, or happen later: callers that
 * care re-send under the same `_id`.
 */
export function toStorageError(error: unknown): unknown {
  if (isBareSocketError(error)) return unavailable(error);
  if (!(error instanceof MongoError)) return error;
  if (ACCESS_CODES.has(error.code)) return accessRefused(error);
  return new DaemonError({
    kind: isTransient(error) ? 'transient' : 'defect',
    code: isTransient(error) ? 'store_unavailable' : 'store_failed',
    message: 'MongoDB did not give a durable answer.',
    context: { mongo: error.name, mongoCode: error.code },
    cause: error,
  });
}

/** Waits for a statement and translates what the driver throws. */
export async function translated<T>(statement: Promise<T>): Promise<T> {
  try {
    return await statement;
  } catch (error) {
    throw toStorageError(error);
  }
}

/** Codes that pass by themselves: time-outs, elections, write concern not met, interrupted or killed operations. */
const TRANSIENT_CODES = new Set<unknown>([
  6, 7, 50, 64, 79, 89, 91, 100, 112, 133, 134, 189, 202, 262, 317, 358, 402, 9001, 10058, 10107, 11600, 11602, 13388,
  13435, 13436,
]);

function isTransient(error: MongoError): boolean {
  return (
    error instanceof MongoNetworkError ||
    error instanceof MongoServerSelectionError ||
    /^Mongo(WaitQueueTimeout|PoolCleared|PoolClosed|NotConnected|TopologyClosed|OperationTimeout|ExpiredSession|WriteConcern)/.test(
      error.name,
    ) ||
    error.hasErrorLabel('RetryableWriteError') ||
    error.hasErrorLabel('TransientTransactionError') ||
    TRANSIENT_CODES.has(error.code) ||
    (error instanceof MongoBulkWriteError && (error.result.getWriteConcernError() !== undefined || isUnanswered(error)))
  );
}

/** The driver wraps a lost connection, or a primary it could not find, in a bulk error without any code or class. */
function isUnanswered(error: MongoBulkWriteError): boolean {
  return error.code === undefined && error.result.getWriteErrors().length === 0;
}

/**
 * The driver lets an error of Node's own socket through when the other side ended it just before a write, and those of the
 * look-up that a `mongodb+srv://` address begins with.
 */
const SOCKET_CODES = new Set<unknown>([
  'EPIPE',
  'ECONNRESET',
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_WRITE_AFTER_END',
  'ENOTFOUND',
  'ENODATA',
  'ESERVFAIL',
  'EREFUSED',
  'ETIMEOUT',
  'ETIMEDOUT',
  'EAI_AGAIN',
  'ECONNREFUSED',
]);
/** Unauthorized, AuthenticationFailed, and what a hosted MongoDB answers in place of them. */
const ACCESS_CODES = new Set<unknown>([13, 18, 8000]);

function isBareSocketError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && SOCKET_CODES.has(error.code);
}

function unavailable(cause: unknown): DaemonError {
  return new DaemonError({
    kind: 'transient',
    code: 'store_unavailable',
    message: 'The connection to MongoDB broke.',
    cause,
  });
}

/** A person has to mend it; until then every statement can be tried again. */
function accessRefused(cause: MongoError): DaemonError {
  return new DaemonError({
    kind: 'transient',
    code: 'store_access_refused',
    message:
      'MongoDB refuses the user or the password of MONGODB_URI, or the user may not read and write the database.',
    context: { mongo: cause.name, mongoCode: cause.code },
    cause,
  });
}

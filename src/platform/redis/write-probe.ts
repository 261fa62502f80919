import type { Redis } from 'ioredis';

/** What a write to Redis came to. */
export type WriteOutcome =
  | { readonly kind: 'ok' }
  /** No answer, or none in time. */
  | { readonly kind: 'away'; readonly reason: string }
  /** It answers and takes no writes: its code, such as OOM, READONLY or MISCONF, and its words. */
  | { readonly kind: 'refusing'; readonly code: string; readonly reason: string };

const PROBE_MS = 60_000;
/** Codes that can stand inside a message, as when a script was refused. */
const CODES = /\b(OOM|READONLY|MISCONF|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|LOADING|NOAUTH|NOPERM|BUSY)\b/;

/** The key of the probe of everything whose keys begin with `prefix`. */
export function probeKey(prefix: string): string {
  return `${prefix}:probe`;
}

/** Writes a key that expires: a server that answers PING can still refuse all work. */
export async function probeWrite(redis: Redis, key: string): Promise<WriteOutcome> {
  try {
    await redis.set(key, '1', 'PX', PROBE_MS);
    return { kind: 'ok' };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const code = refusalCode(error);
    return code === undefined ? { kind: 'away', reason } : { kind: 'refusing', code, reason };
  }
}

/** The code of an answer that refuses; undefined for an error of the connection. */
export function refusalCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || error.name !== 'ReplyError') return undefined;
  return CODES.exec(error.message)?.[1] ?? error.message.split(/\s/, 1)[0] ?? 'ERR';
}

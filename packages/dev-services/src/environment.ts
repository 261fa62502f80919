/**
 * The environment as the embedded services see it. This file and src/config.ts are the only ones under src that read
 * `process.env`; what is read here chooses programs and folders, never how the daemon behaves.
 */
import { homedir } from 'node:os';
import { join } from 'node:path';

export interface EmbeddedEnvironment {
  /** `MONGODB_URI`: a MongoDB that already runs. */
  readonly mongodbUri: string | undefined;
  /** `MONGOMS_SYSTEM_BINARY`: the mongod to start. */
  readonly mongodBinary: string | undefined;
  /** `REDIS_URL`: a Redis that already runs. */
  readonly redisUrl: string | undefined;
  /** `REDIS_SERVER_BINARY`: the redis-server or valkey-server to start. */
  readonly redisServerBinary: string | undefined;
  /** `PATH`: where installed programs are looked for. */
  readonly path: string;
  /** Where downloads are kept: `TALLYSTICK_CACHE_DIR`, else `tallystick` in the user's cache folder. */
  readonly cacheDir: string;
}

/** Reads the variables above; an empty one counts as absent. */
export function readEmbeddedEnvironment(source: NodeJS.ProcessEnv = process.env): EmbeddedEnvironment {
  const read = (name: string): string | undefined => (source[name] === '' ? undefined : source[name]);
  return Object.freeze({
    mongodbUri: read('MONGODB_URI'),
    mongodBinary: read('MONGOMS_SYSTEM_BINARY'),
    redisUrl: read('REDIS_URL'),
    redisServerBinary: read('REDIS_SERVER_BINARY'),
    path: read('PATH') ?? '',
    cacheDir: read('TALLYSTICK_CACHE_DIR') ?? join(read('XDG_CACHE_HOME') ?? join(homedir(), '.cache'), 'tallystick'),
  });
}

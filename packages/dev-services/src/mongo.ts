/** A MongoDB replica set of our own on loopback ports, started through mongodb-memory-server-core. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MongoMemoryReplSet, type MongoMemoryServer } from 'mongodb-memory-server-core';
import { assert, ServicesError } from './errors.ts';
import { findFreePorts, isPortFree } from './ports.ts';
import type { MongodProgram } from './resolve-mongod.ts';

export interface EmbeddedMongoOptions {
  readonly program: MongodProgram;
  /** One for work; three where elections and lost nodes are the subject. Default one. */
  readonly nodeCount?: 1 | 3;
  /** Where the data is kept over restarts. Absent: a temporary folder, removed by `stop`. */
  readonly dataDir?: string;
  /** More command line arguments for every mongod; these win over the defaults. */
  readonly args?: readonly string[];
}

export interface EmbeddedMongoNode {
  readonly port: number;
  /** The mongod's process id; undefined while it does not run. */
  readonly pid: number | undefined;
  /** Ends the mongod as a crash would (SIGKILL); resolves when it is gone. */
  kill(): Promise<void>;
  /** Shuts the mongod down in an orderly way; resolves when it is gone. */
  stop(): Promise<void>;
  /** Starts a mongod that is not running again, on the same port and data; resolves when it takes connections. */
  restart(): Promise<void>;
}

export interface EmbeddedMongo {
  /** Names every node and the replica set. */
  readonly uri: string;
  readonly nodes: readonly EmbeddedMongoNode[];
  /** Ends every node in an orderly way. */
  stop(): Promise<void>;
}

/** MongoDB's code of the error. */
const CONFIGURATION_IN_PROGRESS = 109;
const STARTS_MAX = 3;
const REPLICA_SET = 'tallystick';
const PORTS_FILE = 'ports.json';
/** A busy two-core machine takes several seconds to start three nodes. */
const LAUNCH_MS_MAX = 60_000;
const ELECTION_MS = 2_000;
const HEARTBEAT_MS = 500;
const KILL_POLL_MS = 20;
const KILL_MS_MAX = 10_000;
/** The memory for one node's data; the default would be half of the machine's. */
const CACHE_GIGABYTES = '0.25';

/**
 * The library moves a node to another port when it believes the wanted one was used a moment ago. Members know each
 * other by address, so a moved node would belong to no set: better that a taken port fails the start.
 */
class FixedPortReplicaSet extends MongoMemoryReplSet {
  protected override getInstanceOpts(base?: { port?: number }, keyFile?: string): { port?: number } {
    return Object.assign(super.getInstanceOpts(base, keyFile), { portGeneration: false });
  }
}

/**
 * Starts the replica set and resolves when it has a primary.
 * @throws ServicesError `embedded_unavailable` when it does not start, or when the ports of an existing data folder are taken.
 */
export async function startEmbeddedMongo(options: EmbeddedMongoOptions): Promise<EmbeddedMongo> {
  const { program, dataDir } = options;
  const ports = dataDir === undefined ? await findFreePorts(options.nodeCount ?? 1) : await keptPorts(options, dataDir);
  for (let attempt = 1; ; attempt += 1) {
    const replicaSet = replicaSetOf(options, ports);
    try {
      await replicaSet.start();
      return toEmbeddedMongo(replicaSet);
    } catch (err) {
      if (isStillConfiguring(err) && attempt < STARTS_MAX) {
        await replicaSet.stop({ doCleanup: false, force: false });
        continue;
      }
      throw new ServicesError(
        'embedded_unavailable',
        `MongoDB ${program.version} (${program.path}) did not start: ${err instanceof Error ? err.message : String(err)}`,
        err,
      );
    }
  }
}

function replicaSetOf({ program, dataDir, args }: EmbeddedMongoOptions, ports: readonly number[]): FixedPortReplicaSet {
  return new FixedPortReplicaSet({
    binary: { systemBinary: program.path, version: program.version },
    replSet: {
      name: REPLICA_SET,
      storageEngine: 'wiredTiger',
      args: serverArguments(args ?? []),
      spawn: { detached: true },
      configSettings: { electionTimeoutMillis: ELECTION_MS, heartbeatIntervalMillis: HEARTBEAT_MS },
    },
    instanceOpts: ports.map((port, index) => ({
      port,
      launchTimeout: LAUNCH_MS_MAX,
      ...(dataDir === undefined ? {} : { dbPath: nodeFolder(dataDir, index) }),
    })),
  });
}

/** A node on an old data folder can still be taking up its configuration when the set is to be configured again. */
function isStillConfiguring(error: unknown): boolean {
  return (error as { code?: unknown }).code === CONFIGURATION_IN_PROGRESS;
}

function serverArguments(more: readonly string[]): string[] {
  const cache = more.includes('--wiredTigerCacheSizeGB') ? [] : ['--wiredTigerCacheSizeGB', CACHE_GIGABYTES];
  return [...cache, '--nounixsocket', '--setParameter', 'diagnosticDataCollectionEnabled=false', ...more];
}

function nodeFolder(dataDir: string, index: number): string {
  return join(dataDir, `node-${index}`);
}

/**
 * The ports of the set that lives in `dataDir`. A replica set remembers its members by address, so the ports of its
 * first start are written down beside the data and used again.
 */
async function keptPorts(options: EmbeddedMongoOptions, dataDir: string): Promise<number[]> {
  const nodeCount = options.nodeCount ?? 1;
  for (let index = 0; index < nodeCount; index += 1) await mkdir(nodeFolder(dataDir, index), { recursive: true });
  const file = join(dataDir, PORTS_FILE);
  const kept = await readPorts(file);
  if (kept === undefined) {
    const ports = await findFreePorts(nodeCount);
    await writeFile(file, `${JSON.stringify(ports)}\n`);
    return ports;
  }
  assert(kept.length === nodeCount, 'a data folder is started with the number of nodes it was made with');
  const port = await takenPort(kept);
  if (port === undefined) return kept;
  throw new ServicesError(
    'embedded_unavailable',
    `port ${port}, which belongs to the MongoDB data in ${dataDir}, is taken: is another tallystick running on it?`,
  );
}

async function takenPort(ports: readonly number[]): Promise<number | undefined> {
  for (const port of ports) if (!(await isPortFree(port))) return port;
  return undefined;
}

/** Whether a set seems to run on this data: one of its ports is taken. False for a folder that holds no data. */
export async function isDataInUse(dataDir: string): Promise<boolean> {
  const kept = await readPorts(join(dataDir, PORTS_FILE));
  return kept !== undefined && (await takenPort(kept)) !== undefined;
}

async function readPorts(file: string): Promise<number[] | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as number[];
  } catch (err) {
    if (err instanceof Error && 'code' in err && err.code === 'ENOENT') return undefined;
    throw err;
  }
}

function toEmbeddedMongo(replicaSet: MongoMemoryReplSet): EmbeddedMongo {
  return {
    uri: replicaSet.getUri(),
    nodes: replicaSet.servers.map(toNode),
    stop: async () => {
      const isStopped = await replicaSet.stop({ doCleanup: true, force: false });
      assert(isStopped, 'every node of the embedded MongoDB stops');
    },
  };
}

function toNode(server: MongoMemoryServer): EmbeddedMongoNode {
  const { port } = server.instanceInfo ?? { port: 0 };
  const currentPid = (): number | undefined => server.instanceInfo?.instance.mongodProcess?.pid;
  return {
    port,
    get pid() {
      return currentPid();
    },
    kill: async () => {
      const pid = currentPid();
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
      for (let waitedMs = 0; currentPid() !== undefined && waitedMs < KILL_MS_MAX; waitedMs += KILL_POLL_MS) {
        await new Promise((resolve) => setTimeout(resolve, KILL_POLL_MS));
      }
      await server.stop({ doCleanup: false, force: false });
    },
    stop: async () => {
      await server.stop({ doCleanup: false, force: false });
    },
    restart: () => server.start(true),
  };
}

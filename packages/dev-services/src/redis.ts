/** A Redis or Valkey server of our own on a loopback port. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { ServicesError } from './errors.ts';
import { endWithParent } from './end-with-parent.ts';
import { findFreePorts, LOOPBACK } from './ports.ts';
import type { RedisProgram } from './resolve-redis.ts';

export interface EmbeddedRedisOptions {
  readonly program: RedisProgram;
  /** Where the append-only file is kept. Absent: everything is in memory and a restart finds it empty. */
  readonly dataDir?: string;
  /** The port to listen on. Absent: any free one. */
  readonly port?: number;
  /** More command line arguments for the server. */
  readonly args?: readonly string[];
}

export interface EmbeddedRedis {
  readonly url: string;
  readonly port: number;
  /** The server's process id; undefined while it does not run. */
  readonly pid: number | undefined;
  /** Ends the server as a crash would (SIGKILL); resolves when it is gone. */
  kill(): Promise<void>;
  /** Starts a server that is not running again, on the same port and with the same data folder, if it has one. */
  restart(): Promise<void>;
  /** Ends the server in an orderly way; resolves when it is gone. May be called again. */
  stop(): Promise<void>;
}

const READY_MS_MAX = 20_000;
const READY_POLL_MS = 20;
const PING_MS_MAX = 1_000;
const STOP_MS_MAX = 10_000;
const OUTPUT_CHARACTERS_MAX = 2_000;

/** Starts a server and resolves when it answers. @throws ServicesError `embedded_unavailable` when it does not. */
export async function startEmbeddedRedis(options: EmbeddedRedisOptions): Promise<EmbeddedRedis> {
  const [port] = options.port === undefined ? await findFreePorts(1) : [options.port];
  if (options.dataDir !== undefined) await mkdir(options.dataDir, { recursive: true });
  const args = serverArguments(options, port ?? 0);
  let child = await launch(options.program, args, port ?? 0);
  return {
    url: `redis://${LOOPBACK}:${port}`,
    port: port ?? 0,
    get pid() {
      return isRunning(child) ? child.pid : undefined;
    },
    kill: () => endChild(child, 'SIGKILL'),
    stop: () => endChild(child, 'SIGTERM'),
    restart: async () => {
      await endChild(child, 'SIGTERM');
      child = await launch(options.program, args, port ?? 0);
    },
  };
}

function serverArguments(options: EmbeddedRedisOptions, port: number): string[] {
  const { dataDir } = options;
  const place = ['--port', String(port), '--bind', LOOPBACK, '--dir', dataDir ?? tmpdir(), '--daemonize', 'no'];
  const persistence = ['--save', '', '--appendonly', dataDir === undefined ? 'no' : 'yes'];
  return [...place, ...persistence, '--maxmemory-policy', 'noeviction', ...(options.args ?? [])];
}

/** A process group of its own keeps an interrupt key from ending the server before those who use it. */
async function launch(program: RedisProgram, args: readonly string[], port: number): Promise<ChildProcess> {
  const child = spawn(program.path, args, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-OUTPUT_CHARACTERS_MAX);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  child.once('error', (err) => keep(Buffer.from(err.message)));
  if (child.pid !== undefined) endWithParent(child.pid);
  for (let waitedMs = 0; waitedMs < READY_MS_MAX; waitedMs += READY_POLL_MS) {
    await delay(READY_POLL_MS);
    if (!isRunning(child)) break;
    if (await answersPing(port)) return child;
  }
  await endChild(child, 'SIGKILL');
  throw new ServicesError(
    'embedded_unavailable',
    `Redis did not start on port ${port}: ${output.trim().split('\n').at(-1) ?? ''}`,
  );
}

function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

/** Whether the server has loaded its data and answers commands. */
function answersPing(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: LOOPBACK, timeout: PING_MS_MAX });
    const finish = (answered: boolean): void => {
      socket.destroy();
      resolve(answered);
    };
    socket.once('connect', () => socket.write('PING\r\n'));
    socket.once('data', (data) => finish(data.toString().startsWith('+PONG')));
    socket.once('timeout', () => finish(false));
    socket.once('error', () => finish(false));
    socket.once('close', () => resolve(false));
  });
}

/** Signals the child and waits for its end; SIGKILL follows when it takes too long. */
async function endChild(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  if (!isRunning(child)) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill(signal);
  const deadline = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
  await ended;
  clearTimeout(deadline);
}

import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CommandError } from '../command-error.ts';
import { EXIT } from '../exit-codes.ts';

/** Where `tallystick dev` keeps its stores, below the folder in which it was started. */
export const DEV_FOLDER = join('.tallystick', 'dev');

/** What a terminal needs to work with a running `dev`: variables of the environment by name. */
export type DevEnvironment = Readonly<Record<string, string>>;

/** A `tallystick dev`, as it writes itself down in its folder. */
export interface RunningDev {
  readonly pid: number;
  /** Absent while it starts. */
  readonly url?: string;
  readonly simulatorUrl?: string;
  /** Where its clock is moved. */
  readonly controlUrl?: string;
  /** How far its clock is ahead of the machine's. */
  readonly aheadMs?: number;
  readonly environment?: DevEnvironment;
}

const FILE = join(DEV_FOLDER, 'running.json');
/** It holds keys. */
const OWNER_ONLY = 0o600;
/** A folder where nothing can be read has no `dev` for whoever asks. */
const NOBODY_CODES: readonly (string | undefined)[] = ['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM'];

/** The one that runs in this folder; undefined when none does, also where one ended without taking its file away. */
export async function findRunningDev(): Promise<RunningDev | undefined> {
  const text = await readFile(FILE, 'utf8').catch((error: unknown) => {
    if (NOBODY_CODES.includes((error as NodeJS.ErrnoException).code)) return undefined;
    throw error;
  });
  const dev = text === undefined ? undefined : parse(text);
  return dev !== undefined && isAlive(dev.pid) ? dev : undefined;
}

/** @throws CommandError while another one runs in this folder. */
export async function refuseSecondDev(): Promise<void> {
  const dev = await findRunningDev();
  if (dev === undefined || dev.pid === process.pid) return;
  throw new CommandError({
    what: '`tallystick dev` runs in this folder already',
    why: `process ${dev.pid}${dev.url === undefined ? ' is starting' : ` listens on ${dev.url}`}`,
    todo: `Stop it, or start this one in another folder. If that process is something else, remove ${FILE}.`,
    exitCode: EXIT.configuration,
  });
}

/** The one that runs in this folder and has started. @throws CommandError `dependency down` when there is none. */
export async function requireRunningDev(todo = 'Start it here.'): Promise<Required<RunningDev>> {
  const dev = await findRunningDev();
  if (dev !== undefined && isComplete(dev)) return dev;
  throw new CommandError({
    what: dev === undefined ? 'no `tallystick dev` runs in this folder' : '`tallystick dev` is still starting',
    why: dev === undefined ? `nothing in ${DEV_FOLDER} says so` : undefined,
    todo,
    exitCode: EXIT.dependencyDown,
  });
}

function isComplete(dev: RunningDev): dev is Required<RunningDev> {
  const { url, simulatorUrl, controlUrl, aheadMs, environment } = dev;
  return [url, simulatorUrl, controlUrl, aheadMs, environment].every((part) => part !== undefined);
}

export async function recordDev(dev: RunningDev): Promise<void> {
  await mkdir(DEV_FOLDER, { recursive: true });
  await writeFile(FILE, `${JSON.stringify(dev)}\n`, { mode: OWNER_ONLY });
  await chmod(FILE, OWNER_ONLY);
}

export async function forgetDev(): Promise<void> {
  await rm(FILE, { force: true });
}

/** What is no such file, or was written half, names nobody. */
function parse(text: string): RunningDev | undefined {
  try {
    const found = JSON.parse(text) as RunningDev;
    return typeof found === 'object' && typeof found.pid === 'number' ? found : undefined;
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // It belongs to somebody else.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CommandError } from '../command-error.ts';
import { EXIT } from '../exit-codes.ts';

/** Where `tallystick dev` keeps its stores, below the folder in which it was started. */
export const DEV_FOLDER = join('.tallystick', 'dev');

/** A `tallystick dev`, as it writes itself down in its folder. */
export interface RunningDev {
  readonly pid: number;
  /** Absent while it starts. */
  readonly url?: string;
  readonly simulatorUrl?: string;
}

const FILE = join(DEV_FOLDER, 'running.json');

/** The one that runs in this folder; undefined when none does, also where one ended without taking its file away. */
export async function findRunningDev(): Promise<RunningDev | undefined> {
  const text = await readFile(FILE, 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
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

export async function recordDev(dev: RunningDev): Promise<void> {
  await mkdir(DEV_FOLDER, { recursive: true });
  await writeFile(FILE, `${JSON.stringify(dev)}\n`);
}

export async function forgetDev(): Promise<void> {
  await rm(FILE, { force: true });
}

/** What is no such file, or was written half, names nobody. */
function parse(text: string): RunningDev | undefined {
  try {
    const { pid, url, simulatorUrl } = JSON.parse(text) as Partial<RunningDev>;
    if (typeof pid !== 'number') return undefined;
    return { pid, ...(typeof url === 'string' && { url }), ...(typeof simulatorUrl === 'string' && { simulatorUrl }) };
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

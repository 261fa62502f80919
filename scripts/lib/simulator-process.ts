import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { CommandError } from './command-error.ts';

export interface SimulatorProcess {
  readonly url: string;
  stop(): Promise<void>;
}

/** Starts scripts/simulator in a process of its own. @throws CommandError when it does not start. */
export async function startSimulatorProcess(options: {
  port: number;
  callsPerSecond: number;
  /** How far its clock is ahead of the machine to begin with. */
  aheadMs?: number;
}): Promise<SimulatorProcess> {
  const own = fileURLToPath(import.meta.url);
  // Compiled or not, the program lies beside this folder and has this file's extension.
  const program = own.replace(/lib[\\/]simulator-process(\.[jt]s)$/, 'simulator$1');
  const { port, callsPerSecond, aheadMs = 0 } = options;
  const args = ['--port', `${port}`, '--calls-per-second', `${callsPerSecond}`, '--ahead-ms', `${aheadMs}`];
  const child = fork(program, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const ended = once(child, 'exit');
  const [first] = (await Promise.race([once(child, 'message'), ended.then(() => [])])) as [{ url: string }?];
  if (first === undefined) {
    throw new CommandError({ what: 'the Stripe simulator did not start', why: 'see the lines above' });
  }
  const stop = async (): Promise<void> => {
    if (child.connected) child.disconnect();
    await ended;
  };
  return { url: first.url, stop };
}

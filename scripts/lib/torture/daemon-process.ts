import { type ChildProcess, fork } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Order, Report } from './crashing-daemon.ts';

/** The argument that makes scripts/torture run the daemon instead. */
export const DAEMON_ARGUMENT = 'as-daemon';

/** The daemon in a process of its own, that takes orders and is started again whenever it dies. */
export class DaemonProcess {
  readonly #settings: NodeJS.ProcessEnv;
  readonly #logFile: string;
  readonly #onDeath: () => Promise<void>;
  #child: ChildProcess | undefined;
  #isStopping = false;
  #deaths = 0;
  #restarting: Promise<void> = Promise.resolve();
  #onReport: (report: Report) => void = () => {};

  /** @param settings all of the daemon's; HOST and PORT must be fixed, so that callers find it again. */
  constructor(input: { settings: NodeJS.ProcessEnv; logFile: string; onDeath: () => Promise<void> }) {
    this.#settings = input.settings;
    this.#logFile = input.logFile;
    this.#onDeath = input.onDeath;
  }

  /** How often a process has died unasked. */
  get deaths(): number {
    return this.#deaths;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#settings['PORT']}`;
  }

  async start(): Promise<void> {
    const own = fileURLToPath(import.meta.url);
    const program = own.replace(/lib[\\/]torture[\\/]daemon-process(\.[jt]s)$/, 'torture$1');
    const log = openSync(this.#logFile, 'a');
    const child = fork(program, [DAEMON_ARGUMENT], {
      env: { PATH: process.env['PATH'], NODE_ENV: 'production', ...this.#settings },
      stdio: ['ignore', log, log, 'ipc'],
    });
    closeSync(log);
    this.#child = child;
    child.on('message', (report: Report) => this.#onReport(report));
    const started = this.#await((report) => 'url' in report);
    child.once('exit', () => {
      if (this.#isStopping) return;
      this.#deaths += 1;
      this.#restarting = this.#onDeath().then(() => this.start());
    });
    await started;
  }

  /** Waits until a process that died has a living successor. */
  async recovered(): Promise<void> {
    for (let seen = -1; seen !== this.#deaths;) {
      seen = this.#deaths;
      await this.#restarting;
    }
  }

  /** Gives an order and waits until it was taken. */
  async order(order: Order): Promise<void> {
    const taken = this.#await((report) => 'taken' in report);
    this.#child?.send(order);
    await taken;
  }

  /** Orders a hold; the promise inside the answer settles when the process has come to the boundary. */
  async hold(at: string): Promise<{ held: Promise<void> }> {
    await this.order({ kind: 'hold', at });
    return { held: this.#await((report) => 'held' in report) };
  }

  /** Sends the process a signal; after SIGKILL it is started again. */
  signal(name: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): void {
    this.#child?.kill(name);
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#restarting.catch(() => {});
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => {
      child.once('exit', resolve);
    });
    child.kill('SIGCONT');
    child.kill('SIGKILL');
    await ended;
  }

  #await(isMeant: (report: Report) => boolean): Promise<void> {
    const child = this.#child;
    return new Promise((resolve, reject) => {
      const onExit = (): void => reject(new Error(`the daemon ended; see ${this.#logFile}`));
      child?.once('exit', onExit);
      this.#onReport = (report) => {
        if (!isMeant(report)) return;
        child?.off('exit', onExit);
        resolve();
      };
    });
  }
}

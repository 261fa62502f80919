/** Processes of this program: the parent asks, the child answers, one question at a time. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';

/** What a child does once started. */
export interface RoleWork {
  /** Sent to the parent when the child is ready. */
  readonly ready: unknown;
  answer?(question: unknown): Promise<unknown>;
  stop?(): Promise<void>;
}

export type Roles = Readonly<Record<string, () => Promise<RoleWork>>>;

type Reply = { readonly value: unknown } | { readonly failure: string };

const STOP_MS_MAX = 15_000;

export class Child {
  readonly pid: number;
  readonly ready: unknown;
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess, ready: unknown) {
    this.#process = process;
    this.pid = process.pid ?? 0;
    this.ready = ready;
  }

  /** Resolves when the child is ready. */
  static async start(role: string, env: Readonly<Record<string, string>> = {}): Promise<Child> {
    const started = fork(process.argv[1] ?? '', ['--role', role], { env: { ...process.env, ...env } });
    return new Child(started, await replyOf(started));
  }

  async ask<T>(question: object): Promise<T> {
    const reply = replyOf(this.#process);
    this.#process.send(question);
    return (await reply) as T;
  }

  /** Lets the child end what it does; after a while ends it. */
  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, 'exit');
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), STOP_MS_MAX);
    this.#process.disconnect();
    await ended;
    clearTimeout(timer);
  }
}

function replyOf(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onExit = (): void => reject(new Error('a child process ended'));
    child.once('exit', onExit);
    child.once('message', (reply: Reply) => {
      child.off('exit', onExit);
      if ('value' in reply) resolve(reply.value);
      else reject(new Error(reply.failure));
    });
  });
}

/** The child's side: does its role until the parent lets go. */
export async function runRole(roles: Roles, name: string): Promise<void> {
  const work = await roles[name]?.();
  if (work === undefined) throw new Error(`there is no role ${name}`);
  const send = (reply: Reply): void => {
    process.send?.(reply);
  };
  process.on('message', (question) => {
    void Promise.resolve(work.answer?.(question)).then(
      (value) => send({ value: value ?? null }),
      (err: unknown) => send({ failure: err instanceof Error ? (err.stack ?? err.message) : String(err) }),
    );
  });
  send({ value: work.ready });
  await once(process, 'disconnect');
  await work.stop?.();
}

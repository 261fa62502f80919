import { CommandError, interrupted } from './command-error.ts';
import { EXIT } from './exit-codes.ts';

const REQUEST_MS_MAX = 10_000;

/** The control routes of a simulator in another process. */
export class SimulatorClient {
  readonly url: string;
  readonly #signal: AbortSignal | undefined;

  /** @param signal aborts requests when the person interrupts the command. */
  constructor(url: string, signal?: AbortSignal) {
    this.url = url.replace(/\/+$/, '');
    this.#signal = signal;
  }

  get<T>(path: string): Promise<T> {
    return this.#call<T>(path, { method: 'GET' });
  }

  post<T>(path: string, body: object): Promise<T> {
    return this.#call<T>(path, { method: 'POST', body: JSON.stringify(body) });
  }

  /** @throws CommandError `dependency down` without an answer, and with the simulator's reason when it refuses. */
  async #call<T>(path: string, request: { method: string; body?: string }): Promise<T> {
    const timeout = AbortSignal.timeout(REQUEST_MS_MAX);
    const signal = this.#signal === undefined ? timeout : AbortSignal.any([this.#signal, timeout]);
    const response = await fetch(this.url + path, { ...request, signal }).catch((cause: unknown) => {
      if (this.#signal?.aborted === true) throw interrupted();
      throw noAnswer(this.url, cause);
    });
    const body = (await response.json()) as T & { error?: string };
    if (response.ok) return body;
    throw new CommandError({
      what: `the double of Stripe refused ${path}`,
      why: body.error ?? `it answered ${response.status}`,
    });
  }
}

function noAnswer(url: string, cause: unknown): CommandError {
  return new CommandError({
    what: `no answer from the double of Stripe at ${url}`,
    why: 'nothing listens there, or it is busy',
    todo: 'Start `tallystick dev`, and look there which address it has.',
    exitCode: EXIT.dependencyDown,
    cause,
  });
}

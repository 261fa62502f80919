import type { Population } from './target.ts';

const CLIENTS = 4;
const BATCH = 20;

/** Clients that send without pause, each request again until it is acknowledged. */
export class Load {
  readonly #clients: Promise<void>[];
  #isStopping = false;
  #requests = 0;

  constructor(population: Population) {
    this.#clients = Array.from({ length: CLIENTS }, () => this.#send(population));
    for (const client of this.#clients) client.catch(() => {});
  }

  /** Requests acknowledged so far. */
  get requests(): number {
    return this.#requests;
  }

  /** Lets every client finish its request. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(this.#clients);
  }

  async #send({ target, mill }: Population): Promise<void> {
    while (!this.#isStopping) {
      const batch = this.#requests % 5 === 4 ? mill.mixedBatch(BATCH) : mill.batch(BATCH);
      await target.send(batch);
      mill.acknowledge(batch);
      this.#requests += 1;
    }
  }
}

export function pause(delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, delayMs);
  });
}

import type { Output } from '../output.ts';

/** Runs the demo's steps one after another and says how long each took. */
export class Steps {
  readonly #output: Output;
  readonly #startedAt = performance.now();
  #count = 0;

  constructor(output: Output) {
    this.#output = output;
  }

  /** @param describe what came of it, in a few words. */
  async run<T>(title: string, work: () => Promise<T>, describe?: (result: T) => string): Promise<T> {
    const startedAt = performance.now();
    this.#count += 1;
    const result = await work();
    const detail = describe === undefined ? '' : `: ${describe(result)}`;
    const { paint } = this.#output;
    this.#output.note(`${String(this.#count).padStart(2)}  ${title}${detail} ${paint.faint(`(${since(startedAt)})`)}`);
    return result;
  }

  /** The time of all steps so far. */
  total(): string {
    return since(this.#startedAt);
  }
}

function since(startedAt: number): string {
  return `${((performance.now() - startedAt) / 1000).toFixed(1)} s`;
}

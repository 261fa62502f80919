interface Entry {
  atMs: number;
  /** Ties are settled by the order of entry. */
  number: number;
  run: (atMs: number) => void;
}

/**
 * What the account does by itself when its time has come: reports of rejected usage, period ends, finalisations,
 * payment attempts. A clock that was moved by a month in one step still has every entry run at its own instant.
 */
export class Agenda {
  readonly #heap: Entry[] = [];
  #entered = 0;

  /** Enters `run`, which is called with `atMs` as soon as the account's time has reached it. */
  add(atMs: number, run: (atMs: number) => void): void {
    this.#heap.push({ atMs, number: this.#entered, run });
    this.#entered += 1;
    this.#rise(this.#heap.length - 1);
  }

  /** When the next entry is due, UTC milliseconds; `undefined` where there is none. */
  nextAt(): number | undefined {
    return this.#heap[0]?.atMs;
  }

  /** Runs everything due up to `nowMs`, in the order of its instants, including what these runs enter. */
  runUntil(nowMs: number): void {
    for (let first = this.#heap[0]; first !== undefined && first.atMs <= nowMs; first = this.#heap[0]) {
      this.#takeFirst();
      first.run(first.atMs);
    }
  }

  #takeFirst(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    this.#sink();
  }

  #rise(start: number): void {
    for (let index = start; index > 0;) {
      const parent = (index - 1) >> 1;
      if (!this.#isBefore(index, parent)) return;
      this.#swap(index, parent);
      index = parent;
    }
  }

  #sink(): void {
    for (let index = 0; ;) {
      let least = index;
      for (const child of [2 * index + 1, 2 * index + 2]) if (this.#isBefore(child, least)) least = child;
      if (least === index) return;
      this.#swap(index, least);
      index = least;
    }
  }

  #isBefore(index: number, other: number): boolean {
    const [a, b] = [this.#heap[index], this.#heap[other]];
    if (a === undefined || b === undefined) return false;
    return a.atMs < b.atMs || (a.atMs === b.atMs && a.number < b.number);
  }

  #swap(index: number, other: number): void {
    const [a, b] = [this.#heap[index], this.#heap[other]];
    if (a === undefined || b === undefined) return;
    this.#heap[index] = b;
    this.#heap[other] = a;
  }
}

import { randomBytes } from 'node:crypto';
import type { MeterSubmissions, SubmissionMove } from './meter-submissions-store.ts';

/** Changes of one statement. */
const MOVES_MAX = 200;
/** Statements in flight; one begins beside another only when so many changes wait. */
const IN_FLIGHT_MAX = 2;
const MOVES_BESIDE_MIN = 64;

interface WaitingMove {
  readonly move: SubmissionMove;
  readonly finish: (isMade: boolean) => void;
  readonly fail: (error: unknown) => void;
}

/**
 * Makes changes of many submissions in few statements: what is asked for while one is in flight goes out together. Each
 * change is its own compare-and-set, and each caller learns whether its own took effect.
 *
 * Measured on a catch-up of 16,354 meter events: half of the process's time went into sending single statements. With
 * 30,000, where two were always in flight, each had 22 changes; with one, 47, for a sixth less CPU here and in mongod.
 */
export class MoveBatches {
  readonly #submissions: MeterSubmissions;
  readonly #process = randomBytes(4).toString('hex');
  readonly #queue: WaitingMove[] = [];
  #inFlight = 0;
  #count = 0;

  constructor(submissions: MeterSubmissions) {
    this.#submissions = submissions;
  }

  /** Returns whether the change took effect; false when another was quicker. */
  make(move: SubmissionMove): Promise<boolean> {
    return new Promise((finish, fail) => {
      this.#count += 1;
      const token = `${this.#process}.${this.#count.toString(36)}`;
      this.#queue.push({ move: { ...move, set: { ...move.set, lastMove: token } }, finish, fail });
      this.#pump();
    });
  }

  #pump(): void {
    while (this.#queue.length > 0 && this.#mayBegin()) {
      const batch = this.#queue.splice(0, MOVES_MAX);
      this.#inFlight += 1;
      void this.#flush(batch).finally(() => {
        this.#inFlight -= 1;
        this.#pump();
      });
    }
  }

  #mayBegin(): boolean {
    return this.#inFlight === 0 || (this.#inFlight < IN_FLIGHT_MAX && this.#queue.length >= MOVES_BESIDE_MIN);
  }

  /** Answers every move, one way or the other; never throws. */
  async #flush(batch: readonly WaitingMove[]): Promise<void> {
    try {
      const made = await this.#submissions.moveAll(batch.map(({ move }) => move));
      const isAllMade = made === batch.length;
      const tokens = isAllMade ? undefined : await this.#tokensOf(batch);
      for (const { move, finish } of batch) finish(isAllMade || tokens?.get(move.id) === move.set?.lastMove);
    } catch (error) {
      for (const { fail } of batch) fail(error);
    }
  }

  async #tokensOf(batch: readonly WaitingMove[]): Promise<Map<string, string | undefined>> {
    const found = await this.#submissions.findAll(batch.map(({ move }) => move.id));
    return new Map(found.map(({ _id, lastMove }) => [_id, lastMove]));
  }
}

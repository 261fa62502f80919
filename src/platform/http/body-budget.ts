/** How many bytes of bodies one process holds at once, whoever sends them. */
import type { ServerResponse } from 'node:http';
import { Transform, type Readable } from 'node:stream';
import { DaemonError } from '../errors.ts';
import { type App, API_KEY_SCHEME } from './route.ts';

/** Bodies of those who have an API key, at once; at least so many of the largest that are allowed. */
const GUARDED_BYTES_MAX = 256 * 1024 * 1024;
const GUARDED_BODIES_MIN = 4;

/** A body like most events of Stripe's. */
const SMALL_BYTES_MAX = 64 * 1024;
/** Larger ones that are read at once. The rest is refused by its header: a crowd costs no reading. */
const LARGE_MAX = 64;
/** What they leave to small ones. */
const LARGE_SHARE = 0.75;

/** Bytes that are held, and the most that may be. */
export class BodyBudget {
  readonly #bytesMax: number;
  #bytes = 0;
  #large = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Sets bytes aside until the answer is out, or the connection is gone.
   * @throws DaemonError `bodies_too_many`
   */
  take(bytes: number, response: ServerResponse): void {
    if (this.#bytes + bytes > this.#bytesMax) throw tooMany();
    this.#bytes += bytes;
    onceOver(response, () => (this.#bytes -= bytes));
  }

  /**
   * Gives a body of an announced size one of the places of large ones until the answer is out, if it needs one.
   * @param bytes undefined: not announced
   * @throws DaemonError `bodies_too_many`
   */
  takePlace(bytes: number | undefined, response: ServerResponse): void {
    if (bytes !== undefined && bytes <= SMALL_BYTES_MAX) return;
    if (this.#large >= LARGE_MAX) throw tooMany();
    this.#large += 1;
    onceOver(response, () => (this.#large -= 1));
  }

  /**
   * Counts the bytes of a body as they arrive: what is only announced takes no bytes from others.
   * @returns a stream that fails with `bodies_too_many`.
   */
  count(payload: Readable, response: ServerResponse): Transform {
    let held = 0;
    let isOver = false;
    onceOver(response, () => {
      isOver = true;
      this.#bytes -= held;
    });
    const counted = new Transform({
      transform: (chunk: Buffer, _encoding, next) => {
        const share = held + chunk.length > SMALL_BYTES_MAX ? LARGE_SHARE : 1;
        if (isOver || this.#bytes + chunk.length > this.#bytesMax * share) {
          next(tooMany());
          return;
        }
        held += chunk.length;
        this.#bytes += chunk.length;
        next(null, chunk);
      },
    });
    payload.once('error', (error) => counted.destroy(error));
    return payload.pipe(counted);
  }
}

/**
 * Sets the announced size of each body aside, of those who have shown an API key. Others are refused before their body
 * is read, or counted where it is (see stripe-webhooks).
 */
export function boundBodies(app: App, bodyBytesMax: number): void {
  const budget = new BodyBudget(Math.max(GUARDED_BYTES_MAX, GUARDED_BODIES_MIN * bodyBytesMax));
  app.addHook('preParsing', async (request, reply) => {
    const isGuarded = request.routeOptions.schema?.security?.some((scheme) => API_KEY_SCHEME in scheme) === true;
    if (isGuarded && request.method !== 'GET') {
      const announced = Number(request.headers['content-length'] ?? bodyBytesMax);
      budget.take(Math.min(announced, bodyBytesMax), reply.raw);
    }
  });
}

/** Calls back once, when the answer is out or the connection is gone. */
function onceOver(response: ServerResponse, release: () => void): void {
  let isOver = false;
  const end = (): void => {
    if (!isOver) release();
    isOver = true;
  };
  response.once('finish', end);
  response.once('close', end);
}

function tooMany(): DaemonError {
  return new DaemonError({
    kind: 'transient',
    code: 'bodies_too_many',
    message: 'More bodies are being read than this process may hold. Send it again.',
  });
}

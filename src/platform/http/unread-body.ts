/** What is still to come of a request that was answered before its end. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { callerIfKnown } from './auth.ts';

/** What is read and thrown away, so that a client that sends everything first can read the answer. */
const DRAINED_BYTES_MAX = 64 * 1024 * 1024;
const DRAINED_MS_MAX = 10_000;
/** How many who showed no key are read on for at once. A client with a wrong key is one; a crowd is not worth the reading. */
const STRANGERS_MAX = 16;

/** Reads on after refusals, within bounds, for all requests of one app. */
export class UnreadBodies {
  #strangers = 0;

  /**
   * A connection that is closed while the client still sends is reset, and what it would have read (413, and why) is
   * lost; so it is kept open instead, and closed only when too much or too little comes, or too many strangers do.
   */
  drain(request: FastifyRequest, reply: FastifyReply): void {
    const { raw } = request;
    if (raw.complete || raw.readableEnded) return;
    const isStranger = callerIfKnown(request) === undefined;
    if (isStranger && this.#strangers >= STRANGERS_MAX) {
      reply.header('connection', 'close');
      return;
    }
    reply.removeHeader('connection');
    let left = DRAINED_BYTES_MAX;
    const giveUp = (): void => {
      if (!raw.complete && !raw.readableEnded) raw.socket.destroy();
    };
    const timer = setTimeout(giveUp, DRAINED_MS_MAX).unref();
    if (isStranger) this.#strangers += 1;
    raw.on('data', (chunk: Buffer) => {
      left -= chunk.length;
      if (left < 0) giveUp();
    });
    raw.once('close', () => {
      clearTimeout(timer);
      if (isStranger) this.#strangers -= 1;
    });
    raw.resume();
  }
}

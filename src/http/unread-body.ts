/** What is still to come of a request that was answered before its end. */
import type { FastifyReply, FastifyRequest } from 'fastify';

/** What is read and thrown away, so that a client that sends everything first can read the answer. */
const DRAINED_BYTES_MAX = 64 * 1024 * 1024;
const DRAINED_MS_MAX = 10_000;

/**
 * Reads on after a refusal, within bounds. A connection that is closed while the client still sends is reset, and what
 * it would have read (413, and why) is lost; so it is kept open instead, and closed only when too much or too little comes.
 */
export function drainUnread(request: FastifyRequest, reply: FastifyReply): void {
  const { raw } = request;
  if (raw.complete || raw.readableEnded) return;
  reply.removeHeader('connection');
  let left = DRAINED_BYTES_MAX;
  const giveUp = (): void => {
    if (!raw.complete && !raw.readableEnded) raw.socket.destroy();
  };
  const timer = setTimeout(giveUp, DRAINED_MS_MAX).unref();
  raw.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) giveUp();
  });
  raw.once('close', () => clearTimeout(timer));
  raw.resume();
}

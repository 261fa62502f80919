/** Free loopback ports for servers that must keep theirs over a restart. */
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { ServicesError } from './errors.ts';

export const LOOPBACK = '127.0.0.1';
/**
 * Below the range from which systems take the local ports of outgoing connections (32768 up on Linux, 49152 up
 * elsewhere): a port from here is not lost to a passing connection while its server restarts.
 */
const PORT_MIN = 20_000;
const PORT_MAX = 32_000;
const PORT_ATTEMPTS_MAX = 100;

/** `count` different loopback ports on which nothing listens. */
export async function findFreePorts(count: number): Promise<number[]> {
  const found = new Set<number>();
  for (let attempt = 0; attempt < PORT_ATTEMPTS_MAX && found.size < count; attempt += 1) {
    const port = randomInt(PORT_MIN, PORT_MAX);
    if (await isPortFree(port)) found.add(port);
  }
  if (found.size === count) return [...found];
  throw new ServicesError('embedded_unavailable', 'no free loopback port was found');
}

/** Whether a server could listen on this loopback port now. */
export function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: LOOPBACK, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { ForwardClock } from '../../../src/platform/clock.ts';
import { DAY_MS } from '../../../src/platform/durations.ts';
import { SimulatorClient } from '../simulator-client.ts';

export interface DevControl {
  readonly url: string;
  stop(): Promise<void>;
}

interface ControlDeps {
  /** The daemon's. */
  readonly clock: ForwardClock;
  readonly simulatorUrl: string;
  readonly apiKey: string;
  /** Called after the clock was moved, before that is answered. */
  readonly onMoved: () => Promise<void>;
}

/** How long a clock may be moved by one request: a year and some days. */
const ADVANCE_MS_MAX = 400 * DAY_MS;

/**
 * Where `tallystick dev advance` moves the clocks of the daemon and of the double together: `POST /clock {advanceMs}`, for
 * who has the key, on this machine only.
 */
export async function startDevControl(deps: ControlDeps): Promise<DevControl> {
  const server = createServer((request, response) => {
    answer(deps, request, response).catch((error: unknown) => {
      send(response, 500, { error: error instanceof Error ? error.message : String(error) });
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(deps: ControlDeps, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.headers.authorization !== `Bearer ${deps.apiKey}`) return send(response, 401, { error: 'no key' });
  if (`${request.method} ${request.url}` !== 'POST /clock') return send(response, 404, { error: 'no such route' });
  const { advanceMs } = JSON.parse(await text(request)) as { advanceMs?: unknown };
  if (typeof advanceMs !== 'number' || !(advanceMs >= 0 && advanceMs <= ADVANCE_MS_MAX)) {
    return send(response, 400, { error: 'advanceMs must be a number of milliseconds' });
  }
  // The daemon's first: it takes a webhook that seems a moment old, and refuses one from the future.
  deps.clock.advance(advanceMs);
  await new SimulatorClient(deps.simulatorUrl).post('/_sim/clock', { advanceMs });
  await deps.onMoved();
  send(response, 200, { nowMs: deps.clock.now() });
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

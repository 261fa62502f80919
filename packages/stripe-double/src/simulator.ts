import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { systemClock } from './clock.ts';
import { control } from './control.ts';
import type { Outcome, WireRequest } from './pipeline.ts';
import { Simulation } from './simulation.ts';
import type { SimulationOptions } from './simulation.ts';

const lookEveryMs = 100;
const bodyBytesMax = 1024 * 1024;
/** Longer than a test pauses, so that no client meets a connection that is just being closed. */
const keepAliveMs = 120_000;

export interface SimulatorOptions extends Partial<SimulationOptions> {
  /** Default 127.0.0.1. */
  host?: string;
  /** Default 0: any free port. */
  port?: number;
  /** Whether time passes by itself: what is due happens and is sent without being asked for. Default no. */
  automatic?: boolean;
}

/** A simulation that listens: `new Stripe(key, {host, port, protocol: 'http', telemetry: false})` talks to it. */
export type Simulator = Simulation & {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** Closes the listener and every connection; rejects if the simulator itself failed on a request. */
  stop(): Promise<void>;
};

/** Starts a stateful double of Stripe's API on a port of this machine. Everything is in memory. */
export async function startSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const { host = '127.0.0.1', port = 0, clock = systemClock, seed = 1, automatic = false, ...settings } = options;
  const stopping = new AbortController();
  const defects: unknown[] = [];
  const simulation = new Simulation({ ...settings, clock, seed }, stopping.signal);
  const server = createServer({ keepAliveTimeout: keepAliveMs }, (request, response) => {
    serve(simulation, request, response).catch((err: unknown) => {
      if (!request.errored) defects.push(err);
      response.destroy();
    });
  });
  await listen(server, host, port);
  const bound = (server.address() as AddressInfo).port;
  const running = automatic
    ? keepRunning(simulation, stopping.signal).catch((err: unknown) => defects.push(err))
    : undefined;
  const stop = async (): Promise<void> => {
    stopping.abort();
    await running;
    await close(server);
    if (defects.length > 0) throw new AggregateError(defects, 'the Stripe simulator failed on a request');
  };
  return Object.assign(simulation, { url: `http://${host}:${bound}`, host, port: bound, stop });
}

/** Lets happen and sends what is due, at the latest `lookEveryMs` after its time. */
async function keepRunning(simulation: Simulation, stopping: AbortSignal): Promise<void> {
  while (!stopping.aborted) {
    await simulation.deliverDue();
    await simulation.clock.sleep(lookEveryMs, stopping);
  }
}

async function serve(simulation: Simulation, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await readBody(request);
  if (body === undefined) {
    response.writeHead(413).end();
    return;
  }
  const method = request.method ?? 'GET';
  const [path = '', query = ''] = (request.url ?? '').split('?');
  if (path.startsWith('/_sim/')) {
    const { status, body: json } = (await control(simulation, `${method} ${path}`, body)) ?? { status: 404, body: {} };
    response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(json)}\n`);
    return;
  }
  const call: WireRequest = {
    method,
    path,
    form: method === 'POST' ? body : query,
    authorization: request.headers.authorization,
    idempotencyKey: headerOf(request, 'idempotency-key'),
  };
  send(response, call, await simulation.respond(call));
}

function send(response: ServerResponse, { idempotencyKey }: WireRequest, { answer, replayed }: Outcome): void {
  if (answer === undefined) {
    response.socket?.resetAndDestroy();
    return;
  }
  response.writeHead(answer.status, {
    'content-type': 'application/json',
    ...answer.headers,
    ...(answer.withoutRequestId !== true && { 'request-id': `req_${randomUUID().replaceAll('-', '').slice(0, 14)}` }),
    ...(idempotencyKey !== undefined && { 'idempotency-key': idempotencyKey }),
    ...(replayed && { 'idempotent-replayed': 'true' }),
  });
  response.end(answer.render());
}

/** The whole body as text, or `undefined` where it is too large. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= bodyBytesMax) chunks.push(chunk);
  }
  return bytes <= bodyBytesMax ? Buffer.concat(chunks).toString() : undefined;
}

function headerOf(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.close((err) => (err === undefined ? resolve() : reject(err)));
    server.closeAllConnections();
  });
}

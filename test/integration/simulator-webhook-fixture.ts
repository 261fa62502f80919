import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

/** A webhook as an endpoint receives it. */
export interface ReceivedWebhook {
  body: string;
  signature: string;
  type: string;
  id: string;
}

export interface WebhookEndpoint {
  url: string;
  secret: string;
  received: ReceivedWebhook[];
  /** What the next requests are answered with; 200 afterwards. */
  answers: number[];
}

/** Runs `use` with an endpoint of its own that keeps what it receives. */
export async function withEndpoint(use: (endpoint: WebhookEndpoint) => Promise<void>): Promise<void> {
  const received: ReceivedWebhook[] = [];
  const answers: number[] = [];
  const take = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await text(request);
    const { id, type } = JSON.parse(body) as { id: string; type: string };
    received.push({ body, signature: String(request.headers['stripe-signature']), id, type });
    response.writeHead(answers.shift() ?? 200).end();
  };
  const server = createServer((request, response) => void take(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  try {
    await use({ url: `http://127.0.0.1:${port}/hooks`, secret: 'whsec_test', received, answers });
  } finally {
    server.close();
    await once(server, 'close');
  }
}

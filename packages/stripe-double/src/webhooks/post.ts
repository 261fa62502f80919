import { request } from 'node:http';

/** How long an endpoint may take to answer. Wall-clock time: it is a real server that is waited for. */
const answerWithinMs = 20_000;

export interface PostRequest {
  url: string;
  body: string;
  signature: string;
  /** Breaks the attempt off when the simulator stops. */
  signal: AbortSignal;
}

/** The status that came back, or why none did. Never rejects: a webhook that fails is an outcome. */
export type PostResult = { status: number } | { error: string };

/** One POST as Stripe sends it, on a connection of its own. Redirects are not followed (Stripe docs, Webhooks). */
export function post({ url, body, signature, signal }: PostRequest): Promise<PostResult> {
  return new Promise((resolve) => {
    const outgoing = request(
      url,
      {
        method: 'POST',
        agent: false,
        signal: AbortSignal.any([signal, AbortSignal.timeout(answerWithinMs)]),
        headers: {
          'content-type': 'application/json; charset=utf-8',
          'content-length': Buffer.byteLength(body),
          'stripe-signature': signature,
          'user-agent': 'Stripe/1.0 (+https://stripe.com/docs/webhooks)',
        },
      },
      (response) => {
        const { statusCode = 0 } = response;
        response.on('error', (err) => resolve({ error: err.message }));
        response.on('end', () => resolve({ status: statusCode }));
        response.resume();
      },
    );
    outgoing.on('error', (err) => resolve({ error: err.message }));
    outgoing.end(body);
  });
}

/** Where Stripe delivers events. Public: the signature is what admits, over the bytes as they came. */
import type { FastifyRequest, onErrorAsyncHookHandler } from 'fastify';
import { Type } from 'typebox';
import type { Clock } from '../platform/clock.ts';
import type { WebhookKind } from './webhook.ts';
import { TAKEN } from './webhook-reception.ts';
import { checkSignatureHeader } from './webhook-signature.ts';
import { DaemonError } from '../platform/errors.ts';
import { BodyBudget } from '../platform/http/body-budget.ts';
import { problemResponse, toAnswer } from '../platform/http/problem.ts';
import type { App } from '../platform/http/route.ts';

export interface StripeWebhookDeps {
  readonly clock: Pick<Clock, 'now'>;
  /** Verifies and records a delivery; durable when it returns. */
  receive(delivery: {
    kind: WebhookKind;
    body: Uint8Array;
    signature: string | undefined;
  }): Promise<{ eventId: string; isDuplicate: boolean }>;
  /** Told what became of each delivery: `taken`, or the code of the refusal. */
  onReception(kind: WebhookKind, outcome: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** Events of Stripe's have some kilobytes; an invoice with many lines some hundred. */
const BODY_BYTES_MAX = 1024 * 1024;
/** Bytes of bodies that are held at once, of all who deliver: anybody can send a header that looks like a signature. */
const BODIES_BYTES_MAX = 16 * 1024 * 1024;

const ReceivedReply = Type.Object({
  received: Type.Literal(true),
  eventId: Type.String(),
  duplicate: Type.Boolean({ description: 'Whether the event was recorded before.' }),
});

const DESTINATIONS: readonly { kind: WebhookKind; url: string; operationId: string; summary: string }[] = [
  {
    kind: 'snapshot',
    url: '/v1/stripe/webhooks',
    operationId: 'receiveStripeWebhook',
    summary: 'For Stripe: a destination of snapshot events, signed with STRIPE_WEBHOOK_SECRET.',
  },
  {
    kind: 'thin',
    url: '/v1/stripe/events',
    operationId: 'receiveStripeEvent',
    summary: 'For Stripe: a destination of thin events, signed with STRIPE_EVENTS_SECRET.',
  },
];

/** Registers in a scope of its own: here a body is bytes of any type, and nothing reads it before it is verified. */
export function registerStripeWebhooks(app: App, deps: StripeWebhookDeps): void {
  void app.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers();
    const bodies = new BodyBudget(BODIES_BYTES_MAX);
    // Whoever it is: what cannot be a delivery of Stripe's is refused before a byte of its body is read.
    scope.addHook('onRequest', (request, reply, next) => {
      refuseEncoded(request);
      checkSignatureHeader(signatureOf(request), deps.clock.now());
      bodies.takePlace(announcedBytes(request), reply.raw);
      next();
    });
    scope.addHook('preParsing', async (_request, reply, payload) => bodies.count(payload, reply.raw));
    scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, parsed) => parsed(null, body));
    for (const { kind, url, operationId, summary } of DESTINATIONS) {
      const schema = {
        operationId,
        summary,
        tags: ['stripe'],
        security: [],
        response: { 200: ReceivedReply, default: problemResponse },
      };
      // Wherever it is refused: by its header, its size, its signature, or what it is about.
      const onError: onErrorAsyncHookHandler = async (request, _reply, error) => {
        deps.onReception(kind, toAnswer(error, request.id).problem.code);
      };
      scope.post(url, { schema, bodyLimit: BODY_BYTES_MAX, onError }, async (request) => {
        const { eventId, isDuplicate } = await deps.receive({
          kind,
          body: bytesOf(request),
          signature: signatureOf(request),
        });
        deps.onReception(kind, TAKEN, { event: eventId, isDuplicate });
        return { received: true as const, eventId, duplicate: isDuplicate };
      });
    }
    done();
  });
}

/** Stripe compresses nothing: what claims to be compressed is not what was signed, and is not unpacked. */
function refuseEncoded(request: FastifyRequest): void {
  if (request.headers['content-encoding'] !== undefined) {
    throw new DaemonError({
      kind: 'invalid',
      code: 'webhook_body_encoded',
      message: 'A webhook has to come as it was signed, without a Content-Encoding.',
    });
  }
}

function announcedBytes(request: FastifyRequest): number | undefined {
  const announced = request.headers['content-length'];
  return announced === undefined ? undefined : Number(announced);
}

function bytesOf(request: FastifyRequest): Uint8Array {
  return request.body instanceof Uint8Array ? request.body : new Uint8Array();
}

function signatureOf(request: FastifyRequest): string | undefined {
  const header = request.headers['stripe-signature'];
  return Array.isArray(header) ? header.join(',') : header;
}

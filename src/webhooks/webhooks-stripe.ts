import { isUtf8 } from 'node:buffer';
import { Stripe } from 'stripe';
import { readWebhookEvent, type WebhookEvent, type WebhookKind } from './webhook.ts';
import { checkSignatureHeader, SIGNATURE_SKEW_SECONDS_MAX } from './webhook-signature.ts';
import { DaemonError } from '../platform/errors.ts';

/** What came to one of the two routes. */
export interface WebhookDelivery {
  readonly kind: WebhookKind;
  /** The bytes as they came: the signature is of these and nothing else. */
  readonly body: Uint8Array;
  /** The `Stripe-Signature` header. */
  readonly signature: string | undefined;
}

export interface WebhookSettings {
  /** Signing secrets of each destination; several while one is rolled. Without any, its route is closed. */
  readonly secrets: Readonly<Partial<Record<WebhookKind, readonly string[]>>>;
  /** Whether our key is a live one. */
  readonly isLive: boolean;
  /** Our own account's id; undefined when the key may not ask for it. */
  accountId(): Promise<string | undefined>;
}

const MARK = [0xef, 0xbb, 0xbf] as const;
const SNAPSHOT = 'STRIPE_WEBHOOK_SECRET';
const THIN = 'STRIPE_EVENTS_SECRET';

/** Says whether a delivery is Stripe's, and about our account. Nothing in it is believed before. */
export class Webhooks {
  readonly #settings: WebhookSettings;

  constructor(settings: WebhookSettings) {
    this.#settings = settings;
  }

  /**
   * The event, if all of these hold: well-formed header, time within five minutes either way, signature by one of the
   * secrets over exactly these bytes, an event of this kind, of our mode (live or test) and of our account.
   * @throws DaemonError `webhook_not_configured` or one of the other `webhook_…` codes.
   */
  async verify(delivery: WebhookDelivery, nowMs: number): Promise<WebhookEvent> {
    const secrets = this.#settings.secrets[delivery.kind] ?? [];
    if (secrets.length === 0) throw notConfigured(delivery.kind);
    const header = checkSignatureHeader(delivery.signature, nowMs);
    const text = toText(delivery.body);
    const isSignedByOneOf = (some: readonly string[]): boolean =>
      text !== undefined && some.some((secret) => isSigned(text, { header, secret, nowMs }));
    if (text === undefined || !isSignedByOneOf(secrets)) {
      const other = delivery.kind === 'snapshot' ? 'thin' : 'snapshot';
      if (isSignedByOneOf(this.#settings.secrets[other] ?? [])) throw secretOfOther(delivery.kind);
      throw refused('webhook_signature_wrong', 'The signature does not belong to this body.');
    }
    const event = readWebhookEvent(text, delivery.kind);
    if (event.isLive !== this.#settings.isLive) {
      throw refused('webhook_mode_other', `A ${event.isLive ? 'live' : 'test'} event does not belong to this key.`);
    }
    if (event.account !== undefined && event.account !== (await this.#settings.accountId())) {
      throw refused('webhook_account_other', 'The event is of another account than the key.');
    }
    return event;
  }
}

/**
 * Bytes that are no UTF-8, or begin with a mark, have no text that the package could verify without changing them: it
 * would replace or drop what it cannot read, and so call other bytes signed.
 */
function toText(body: Uint8Array): string | undefined {
  const isMarked = MARK.every((byte, index) => body[index] === byte);
  return isUtf8(body) && !isMarked ? Buffer.from(body).toString('utf8') : undefined;
}

function isSigned(text: string, against: { header: string; secret: string; nowMs: number }): boolean {
  const { header, secret, nowMs } = against;
  try {
    const tolerance = SIGNATURE_SKEW_SECONDS_MAX;
    return Stripe.webhooks.signature?.verifyHeader(text, header, secret, tolerance, undefined, nowMs) === true;
  } catch (error) {
    if (error instanceof Stripe.errors.StripeSignatureVerificationError) return false;
    throw error;
  }
}

function refused(code: string, message: string): DaemonError {
  return new DaemonError({ kind: 'invalid', code, message });
}

/** Stripe has signed it: only the two settings are exchanged, or the two addresses. */
function secretOfOther(kind: WebhookKind): DaemonError {
  const [own, other] = kind === 'snapshot' ? [SNAPSHOT, THIN] : [THIN, SNAPSHOT];
  return refused('webhook_secret_other', `It is signed with ${other}; this destination's secret belongs into ${own}.`);
}

function notConfigured(kind: WebhookKind): DaemonError {
  const name = kind === 'snapshot' ? SNAPSHOT : THIN;
  return new DaemonError({
    kind: 'transient',
    code: 'webhook_not_configured',
    message: `This destination needs ${name} and STRIPE_SECRET_KEY; Stripe tries again later.`,
  });
}

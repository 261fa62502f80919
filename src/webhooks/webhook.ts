import { DaemonError } from '../platform/errors.ts';
import { parseTimestamp } from '../platform/instant.ts';

/** A snapshot event carries its object; a thin one only names it and is fetched. */
export type WebhookKind = 'snapshot' | 'thin';

/** What an event is about, as far as something has to be done. */
export type WebhookTopic = 'subscription' | 'invoice' | 'error-report';

/** What is kept of an event: its content is never trusted, the object's present state is fetched. */
export interface WebhookEvent {
  readonly id: string;
  readonly kind: WebhookKind;
  readonly type: string;
  /** The object it is about; absent where it names none. */
  readonly objectId?: string;
  readonly createdAtMs: number;
  readonly isLive: boolean;
  /** Another account than the one of the destination: Connect's `account`, or a `context`. */
  readonly account?: string;
}

/** The snapshot events that something is done for; at most 20, which is what Stripe's list takes. */
export const SNAPSHOT_TYPES: readonly string[] = [
  'customer.subscription.created',
  'customer.subscription.updated',
  'customer.subscription.deleted',
  'customer.subscription.paused',
  'customer.subscription.resumed',
  'customer.subscription.pending_update_applied',
  'invoice.created',
  'invoice.updated',
  'invoice.finalized',
  'invoice.finalization_failed',
  'invoice.paid',
  'invoice.payment_succeeded',
  'invoice.payment_failed',
  'invoice.payment_action_required',
  'invoice.marked_uncollectible',
  'invoice.overdue',
  'invoice.voided',
  'invoice.deleted',
];

/** The thin events that something is done for: usage that Stripe took and then refused. */
export const THIN_TYPES: readonly string[] = [
  'v1.billing.meter.error_report_triggered',
  'v1.billing.meter.no_meter_found',
];

const OBJECT_OF_KIND: Readonly<Record<WebhookKind, string>> = { snapshot: 'event', thin: 'v2.core.event' };
const ID = /^[\u0021-\u007e]{1,255}$/;
const TYPE = /^[A-Za-z0-9_.-]{1,200}$/;

/**
 * What an event asks for; undefined when nothing is done for it. Types of subscriptions and invoices that are not listed
 * above are taken too: mirroring an object once more does no harm. (`invoice.upcoming` is about an invoice that does not
 * exist.)
 */
export function topicOf(event: Pick<WebhookEvent, 'kind' | 'type' | 'objectId'>): WebhookTopic | undefined {
  if (event.kind === 'thin') return THIN_TYPES.includes(event.type) ? 'error-report' : undefined;
  if (event.objectId === undefined) return undefined;
  if (event.type.startsWith('customer.subscription.')) return 'subscription';
  return event.type.startsWith('invoice.') ? 'invoice' : undefined;
}

/**
 * Reads the text of an event whose signature was verified.
 * @throws DaemonError `webhook_event_malformed`, or `webhook_event_kind_wrong` for a thin event where snapshot events
 * belong, and the reverse.
 */
export function readWebhookEvent(text: string, kind: WebhookKind): WebhookEvent {
  return toWebhookEvent(parse(text), kind);
}

/** The same, of an event that was parsed already. */
export function toWebhookEvent(value: unknown, kind: WebhookKind): WebhookEvent {
  const event = toRecord(value);
  const { object } = event;
  if (object !== OBJECT_OF_KIND[kind] && Object.values<unknown>(OBJECT_OF_KIND).includes(object)) {
    throw new DaemonError({
      kind: 'invalid',
      code: 'webhook_event_kind_wrong',
      message: `This route takes ${kind} events.`,
      context: { object },
    });
  }
  const { id, type, livemode } = event;
  const createdAtMs = readCreated(event['created']);
  const isWellFormed = object === OBJECT_OF_KIND[kind] && typeof livemode === 'boolean' && createdAtMs !== undefined;
  if (!isWellFormed || !isText(id, ID) || !isText(type, TYPE)) throw malformed();
  const objectId = toRecord(kind === 'snapshot' ? toRecord(event['data'])['object'] : event['related_object'])['id'];
  const account = event['account'] ?? event['context'];
  return {
    id,
    kind,
    type,
    ...(isText(objectId, ID) && { objectId }),
    createdAtMs,
    isLive: livemode,
    ...(account !== undefined && account !== null && account !== '' && { account: toAccount(account) }),
  };
}

/** Something that is no text is nobody's id. */
function toAccount(account: unknown): string {
  return typeof account === 'string' ? account : JSON.stringify(account);
}

/** Snapshot events tell Unix seconds, thin ones RFC 3339. */
function readCreated(created: unknown): number | undefined {
  if (typeof created === 'string') return parseTimestamp(created);
  return typeof created === 'number' && Number.isSafeInteger(created) && created > 0 ? created * 1_000 : undefined;
}

function isText(value: unknown, pattern: RegExp): value is string {
  return typeof value === 'string' && pattern.test(value);
}

/** The fields of an object; none of anything else. */
export function toRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw malformed(cause);
  }
}

function malformed(cause?: unknown): DaemonError {
  return new DaemonError({
    kind: 'invalid',
    code: 'webhook_event_malformed',
    message: 'The signature is right, and the body is no event of Stripe.',
    cause,
  });
}

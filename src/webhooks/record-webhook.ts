import { boundary } from '../platform/boundary.ts';
import type { Clock } from '../platform/clock.ts';
import { topicOf, type WebhookEvent, type WebhookKind } from './webhook.ts';

/** What came to one of the two routes. */
export interface ReceivedWebhook {
  readonly kind: WebhookKind;
  readonly body: Uint8Array;
  readonly signature: string | undefined;
}

export interface RecordWebhookDeps {
  /** Throws one of the `webhook_…` errors unless the delivery is Stripe's and about our account. */
  verify(delivery: ReceivedWebhook, nowMs: number): Promise<WebhookEvent>;
  readonly inbox: {
    record(
      events: readonly WebhookEvent[],
      as: { at: Date; source: 'delivery'; isHandled: (event: WebhookEvent) => boolean },
    ): Promise<ReadonlySet<string>>;
  };
  /** Rings for the work; it is listed in the inbox, so a bell that does not ring costs a minute. */
  ring(): void;
  readonly clock: Pick<Clock, 'now'>;
}

/**
 * Verifies a delivery and writes it down; nothing else happens before Stripe has its answer. Durable when it returns.
 * @throws DaemonError of a `webhook_…` code, or `store_unavailable`: Stripe delivers again.
 */
export async function recordWebhook(
  deps: RecordWebhookDeps,
  delivery: ReceivedWebhook,
): Promise<{ eventId: string; isDuplicate: boolean }> {
  const nowMs = deps.clock.now();
  const event = await deps.verify(delivery, nowMs);
  const isHandled = (candidate: WebhookEvent): boolean => topicOf(candidate) !== undefined;
  const fresh = await deps.inbox.record([event], { at: new Date(nowMs), source: 'delivery', isHandled });
  await boundary('webhook.recorded');
  if (isHandled(event)) deps.ring();
  return { eventId: event.id, isDuplicate: !fresh.has(event.id) };
}

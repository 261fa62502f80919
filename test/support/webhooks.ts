/** Events as Stripe sends them, signed as Stripe signs them. */
import { Stripe } from 'stripe';
import type { WebhookKind } from '../../src/webhooks/webhook.ts';

export const SNAPSHOT_SECRET = 'whsec_test_snapshot';
export const THIN_SECRET = 'whsec_test_thin';

export interface SignedWebhook {
  readonly body: string;
  readonly signature: string;
}

/** The body of a snapshot event; `with` overrides its fields. */
export function snapshotEvent(type: string, objectId: string, fields: Record<string, unknown> = {}): string {
  return JSON.stringify({
    id: `evt_${type.replaceAll(/\W/g, '')}_${objectId}`,
    object: 'event',
    api_version: '2026-10-28.endive',
    created: 1_780_000_000,
    data: { object: { id: objectId, object: 'anything', status: 'whatever the payload claims' } },
    livemode: false,
    pending_webhooks: 1,
    request: { id: null, idempotency_key: null },
    type,
    ...fields,
  });
}

/** The body of the notification of a thin event, which carries no data. */
export function thinEvent(type: string, fields: Record<string, unknown> = {}): string {
  return JSON.stringify({
    id: `evt_test_${type.replaceAll(/\W/g, '')}`,
    object: 'v2.core.event',
    type,
    created: '2026-11-21T05:29:58.051Z',
    livemode: false,
    reason: null,
    related_object: { id: 'mtr_test_1', type: 'billing.meter', url: '/v1/billing/meters/mtr_test_1' },
    ...fields,
  });
}

/** A body with its signature, made at an instant. */
export function sign(body: string, at: { nowMs: number; kind?: WebhookKind; secret?: string }): SignedWebhook {
  const secret = at.secret ?? (at.kind === 'thin' ? THIN_SECRET : SNAPSHOT_SECRET);
  const timestamp = Math.floor(at.nowMs / 1_000);
  return { body, signature: Stripe.webhooks.generateTestHeaderString({ payload: body, secret, timestamp }) };
}

import { DAY_MS } from '../platform/durations.ts';
import type { WebhookKind } from './webhook.ts';

/** What became of deliveries at one destination, counted by outcome. */
export interface WebhookReception {
  readonly destination: WebhookKind;
  /** `taken`, or the code of the refusal. */
  readonly outcome: string;
  readonly count: number;
  readonly firstAt: Date;
  readonly lastAt: Date;
}

/** The outcome of a delivery that was written down, for the first time or again. */
export const TAKEN = 'taken';

/** What helps against each refusal, by its code. */
export const REFUSED_TODO: Readonly<Record<string, string>> = {
  webhook_secret_other:
    "this is the other destination's secret: exchange STRIPE_WEBHOOK_SECRET and STRIPE_EVENTS_SECRET, or the two URLs at Stripe",
  webhook_signature_wrong:
    "set STRIPE_WEBHOOK_SECRET or STRIPE_EVENTS_SECRET to this destination's secret; a proxy must not change bodies",
  webhook_not_configured: 'set the secret of this destination and STRIPE_SECRET_KEY: docs/webhooks.md',
  webhook_timestamp_refused: 'synchronise our clock by NTP',
  webhook_mode_other: 'make the destination in the mode (test or live) of STRIPE_SECRET_KEY',
};

/** Stripe delivers again for three days: what was refused before that will not come again by itself. */
const REFUSALS_MATTER_MS = 3 * DAY_MS;
/** Whoever finds the address can be refused for these; Stripe itself hardly is. */
const STRANGERS: readonly string[] = ['webhook_signature_missing', 'webhook_signature_malformed'];

/**
 * The refusals that a person should know of: within the last three days, and since a delivery was last taken at the same
 * destination. A proxy or a setting that is wrong refuses all of them.
 */
export function refusalsThatMatter(receptions: readonly WebhookReception[], nowMs: number): WebhookReception[] {
  const takenAtMs = new Map(
    receptions
      .filter(({ outcome }) => outcome === TAKEN)
      .map(({ destination, lastAt }) => [destination, lastAt.getTime()]),
  );
  return receptions.filter(({ destination, outcome, lastAt }) => {
    const sinceMs = Math.max(nowMs - REFUSALS_MATTER_MS, takenAtMs.get(destination) ?? 0);
    return outcome !== TAKEN && !STRANGERS.includes(outcome) && lastAt.getTime() > sinceMs;
  });
}

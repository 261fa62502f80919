import { SubscriptionMirror } from '../../../src/mirror/subscriptions-store.ts';
import { EXIT } from '../../lib/exit-codes.ts';
import type { CheckContext, Problem } from './check.ts';
import { withDatabase } from './with-database.ts';

/**
 * Stripe can tell us what happens. Without its webhooks the daemon looks for itself every hour, which is late for an
 * invoice that is finalised an hour after its period; where no subscription bills usage there is nothing to be late for.
 */
export async function checkWebhooks({ config }: CheckContext): Promise<Problem[]> {
  if (config.stripeSecretKey === undefined) return [];
  const isBilling = await withDatabase(config, ({ db }) => new SubscriptionMirror(db).hasBillingUsage());
  const missing = [
    ...(config.stripeWebhookSecret === undefined ? ['STRIPE_WEBHOOK_SECRET'] : []),
    ...(config.stripeEventsSecret === undefined ? ['STRIPE_EVENTS_SECRET'] : []),
  ];
  return (isBilling ? missing : []).map((name) => ({
    what: `${name} is not set: subscriptions bill usage, and what happens at Stripe is seen up to an hour late`,
    todo: 'add the destination at Stripe, see docs/webhooks.md',
    exitCode: EXIT.configuration,
  }));
}

import { boundary } from '../platform/boundary.ts';
import type { Subscription } from './subscription.ts';
import { DaemonError } from '../platform/errors.ts';
import { type MirrorCalendarDeps, mirrorCalendarsOf } from './mirror-calendar.ts';

export interface MirrorSubscriptionDeps extends MirrorCalendarDeps {
  /** The subscription as it is at Stripe now; undefined when there is none. */
  fetchSubscription(id: string): Promise<Subscription | undefined>;
  readonly subscriptions: MirrorCalendarDeps['subscriptions'] & {
    find(id: string): Promise<{ readonly mirrorRevision: number } | null>;
    save(subscription: Subscription, previousRevision: number | undefined): Promise<boolean>;
  };
}

/** How often one is fetched again because another fetch was stored meanwhile. */
const ATTEMPTS_MAX = 10;

/**
 * Fetches a subscription and stores it, then makes its customer's calendar follow. The fetch begins after the stored
 * revision was read and is stored only on top of that revision: of two that overlap, one is repeated, so that what is
 * stored was never older than what it replaced. The order in which news of it came does not matter.
 * @throws DaemonError `stripe_object_missing` when Stripe has it no more (subscriptions that ended stay there),
 * `write_contended`.
 */
export async function mirrorSubscription(deps: MirrorSubscriptionDeps, id: string): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const before = await deps.subscriptions.find(id);
    const subscription = await deps.fetchSubscription(id);
    if (subscription === undefined) {
      if (before !== null) throw missing(id);
      return;
    }
    if (!(await deps.subscriptions.save(subscription, before?.mirrorRevision))) continue;
    await boundary('mirror.subscription-stored');
    await mirrorCalendarsOf(deps, [subscription.stripeCustomerId]);
    return;
  }
  throw contended(id);
}

/** An object of ours that Stripe does not have: a wrong key, or a test clock that was deleted. Nothing is forgotten. */
export function missing(id: string): DaemonError {
  return new DaemonError({
    kind: 'rejected',
    code: 'stripe_object_missing',
    message: 'Stripe does not have an object that it had before; the mirror was left as it is.',
    context: { id },
  });
}

export function contended(id: string): DaemonError {
  return new DaemonError({
    kind: 'transient',
    code: 'write_contended',
    message: 'The same object was mirrored by others all the time.',
    context: { id },
  });
}

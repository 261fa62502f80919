import { invalidRequest } from '../answer.ts';
import type { Parameters } from '../parameters.ts';
import type { Switches } from '../switches.ts';
import type { BilledItem } from './invoice-lines.ts';
import { isMetered } from './subscription-object.ts';
import type { Subscription } from './subscription-object.ts';

const daySeconds = 86_400;
/** "730 days (2 years) or less" (Stripe docs, Using trial periods). */
const daysMax = 730;
/** "Three days before the trial period is up", or at once when it is shorter (Stripe docs, Using trial periods). */
export const noticeMs = 3 * daySeconds * 1000;

/** When the trial that is asked for ends, in Unix seconds; `now` itself for `now`. Undefined: none is asked for. */
export function readTrialEnd(parameters: Parameters, now: number): number | undefined {
  const text = parameters.text('trial_end');
  const days = parameters.integer('trial_period_days');
  if (text !== undefined && days !== undefined) {
    throw invalidRequest('You can only set one of trial_end and trial_period_days.', { param: 'trial_period_days' });
  }
  if (days !== undefined && (days < 1 || days > daysMax)) {
    throw invalidRequest(`trial_period_days must be from 1 to ${daysMax}.`, { param: 'trial_period_days' });
  }
  if (days !== undefined) return now + days * daySeconds;
  if (text === undefined || text === 'now') return text === undefined ? undefined : now;
  const param = 'trial_end';
  if (!/^\d+$/.test(text)) throw invalidRequest(`Invalid timestamp: ${text}`, { param });
  if (Number(text) <= now)
    throw invalidRequest('Invalid timestamp: must be an integer Unix timestamp in the future', { param });
  if (Number(text) > now + daysMax * daySeconds)
    throw invalidRequest(`trial_end is at most ${daysMax} days ahead.`, { param });
  return Number(text);
}

export function isTrialing({ status }: Pick<Subscription, 'status'>): boolean {
  return status === 'trialing';
}

/** The end of the trial that contains an instant; all are Unix seconds. */
export function trialEndAfter({ status, trial_end: end }: Subscription, instant: number): number | undefined {
  return status === 'trialing' && end !== null && instant < end ? end : undefined;
}

/** What is billed of a trial: "any usage accrued doesn't count toward the total" (Stripe docs, Using trial periods). */
export function freeOfCharge(billed: BilledItem, { trialUsageLine }: Pick<Switches, 'trialUsageLine'>): BilledItem {
  const isEmpty = isMetered(billed.item.price) && trialUsageLine === 'zero';
  return { ...billed, isFree: true, ...(isEmpty && { isEmpty }) };
}

import { catchUpEvents } from '../webhooks/catch-up-events.ts';
import { mirrorAccount, type MirrorAccountDeps } from '../mirror/mirror-account.ts';
import { type MirrorCalendarDeps, mirrorCalendarsOf, mirrorWaitingCalendars } from '../mirror/mirror-calendar.ts';
import { mirrorInvoice } from '../mirror/mirror-invoice.ts';
import { mirrorSubscription } from '../mirror/mirror-subscription.ts';
import { processWebhooks } from '../webhooks/process-webhooks.ts';
import { recordWebhook } from '../webhooks/record-webhook.ts';
import type { Config } from '../config.ts';
import { isLiveKey } from '../config-secrets.ts';
import { billsUsage } from '../mirror/invoice.ts';
import { MINUTE_MS } from '../platform/durations.ts';
import { TAKEN } from '../webhooks/webhook-reception.ts';
import type { GaugeSource, Metrics } from '../platform/http/metrics.ts';
import type { RouteRegistrar } from '../platform/http/route.ts';
import { registerStripeInbox } from '../webhooks/stripe-inbox-routes.ts';
import { registerStripeWebhooks } from '../webhooks/stripe-webhooks-routes.ts';
import type { JobQueue } from '../platform/queue/job-queue.ts';
import type { JobHandler } from '../platform/queue/job-worker.ts';
import { Webhooks } from '../webhooks/webhooks-stripe.ts';
import { wakeGuard } from './invoice-guards.ts';
import { type JobParts, requireStripe } from './job-parts.ts';
import type { ReceptionTally } from './reception-tally.ts';
import { rejectSamples } from './submission-jobs.ts';

/** One change makes several events within moments: they are one fetch and one run. */
const GATHER_MS = 500;
/** The hourly tick was missed, or the daemon was away. */
const CATCH_UP_AGE_MS_MAX = 65 * MINUTE_MS;
/** After a run that failed, the next one waits this long. */
const CATCH_UP_RETRY_MS = 10 * MINUTE_MS;

export interface WebhookRouteParts {
  readonly queue: JobQueue;
  readonly metrics: Metrics;
  readonly tally: ReceptionTally;
}

/** The routes that Stripe delivers to, and what became of what it delivered. */
export function webhookRoutes(parts: JobParts, { queue, metrics, tally }: WebhookRouteParts): RouteRegistrar[] {
  const { stores, clock, log } = parts;
  const webhooks = openWebhooks(parts);
  const ring = (): void => queue.ring('process-webhooks', { delayMs: GATHER_MS });
  const verify: Webhooks['verify'] = (delivery, nowMs) => webhooks.verify(delivery, nowMs);
  return [
    (app) =>
      registerStripeWebhooks(app, {
        clock,
        receive: (delivery) => recordWebhook({ verify, inbox: stores.webhookInbox, ring, clock }, delivery),
        onReception: (destination, outcome, fields) => {
          tally.count(destination, outcome);
          metrics.observeDelivery(destination, outcome);
          // A refusal is told as a refused request, which is bounded: anybody can deliver.
          if (outcome === TAKEN) log.info({ destination, ...fields }, 'webhook taken');
        },
      }),
    (app) =>
      registerStripeInbox(app, {
        listInbox: (query) => stores.webhookInbox.list(query),
        retry: async (eventId) => {
          const isRetried = await stores.webhookInbox.retry(eventId, new Date(clock.now()));
          if (isRetried) ring();
          return isRetried;
        },
      }),
  ];
}

/** Without a key nothing that an event is about could be fetched, so nothing is taken either. */
function openWebhooks({ config, stripe }: JobParts): Webhooks {
  return new Webhooks({
    secrets: stripe === undefined ? {} : secretsOf(config),
    isLive: isLiveKey(config.stripeSecretKey ?? ''),
    accountId: async () => stripe?.objects.accountId(),
  });
}

function secretsOf(config: Config): { snapshot?: readonly string[]; thin?: readonly string[] } {
  return {
    ...(config.stripeWebhookSecret && { snapshot: config.stripeWebhookSecret }),
    ...(config.stripeEventsSecret && { thin: config.stripeEventsSecret }),
  };
}

/** The jobs that act on what Stripe told. */
export function webhookJobs(parts: JobParts): Record<'process-webhooks' | 'catch-up-events', JobHandler> {
  const { stores, clock, log } = parts;
  return {
    'process-webhooks': async ({ signal }) => {
      const mirror = mirrorDeps(parts);
      const handlers = {
        subscription: (id: string) => mirrorSubscription(mirror, id),
        invoice: (id: string) => followInvoice(parts, id),
        'error-report': (id: string) => rejectReported(parts, id),
      };
      const pace = (abort?: AbortSignal) => requireStripe(parts).webhookRate.take(abort);
      return processWebhooks(
        { inbox: stores.webhookInbox, handlers, pace, random: Math.random, clock, log },
        { signal },
      );
    },
    'catch-up-events': async ({ signal }) => {
      const { objects } = requireStripe(parts);
      return catchUpEvents(
        {
          events: objects.events,
          inbox: stores.webhookInbox,
          coverage: stores.eventCoverage,
          mirrorAccount: (refusals, abort) =>
            mirrorAccount(mirrorDeps(parts), { refusals, ...(abort && { signal: abort }) }),
          mirrorWaitingCalendars: (refusals) => mirrorWaitingCalendars(calendarDeps(parts), refusals),
          isLive: isLiveKey(parts.config.stripeSecretKey ?? ''),
          clock,
        },
        { signal },
      );
    },
  };
}

/** Stripe names samples and tells how many there are: reconciliation finds the others. */
async function rejectReported(parts: JobParts, eventId: string): Promise<void> {
  const report = await requireStripe(parts).objects.events.fetchReport(eventId);
  const { errorCount, samples } = report;
  parts.log.warn({ event: eventId, errorCount, named: samples.length }, 'stripe reported rejected meter events');
  await rejectSamples(parts, report);
}

/** Its lines may divide usage where the customer's subscriptions tell of no boundary. */
async function followInvoice(parts: JobParts, id: string): Promise<void> {
  const mirror = mirrorDeps(parts);
  const invoice = await mirrorInvoice(mirror, id);
  if (invoice !== undefined && billsUsage(invoice)) await mirrorCalendarsOf(mirror, [invoice.stripeCustomerId]);
  await wakeGuard(parts, invoice);
}

/** What the calendars of customers follow from. */
export function calendarDeps({ stores, clock }: JobParts): MirrorCalendarDeps {
  return {
    customers: stores.customers,
    subscriptions: stores.subscriptions,
    invoices: stores.invoices,
    usage: stores.usageAggregates,
    clock,
  };
}

function mirrorDeps(parts: JobParts): MirrorAccountDeps {
  const { stores } = parts;
  const { objects } = requireStripe(parts);
  return {
    ...calendarDeps(parts),
    subscriptions: stores.subscriptions,
    invoices: stores.invoices,
    fetchSubscription: (id) => objects.subscriptions.fetch(id),
    fetchInvoice: (id) => objects.invoices.fetch(id),
    listSubscriptions: (onRefused) => objects.subscriptions.list(onRefused),
    listInvoices: (sinceMs, onRefused) => objects.invoices.list(sinceMs, onRefused),
  };
}

/** The jobs among these that are due, from what MongoDB holds. */
export async function dueWebhookJobs({ stores, stripe }: JobParts, nowMs: number): Promise<string[]> {
  if (stripe === undefined) return [];
  const [last, pause] = await Promise.all([stores.runs.last('catch-up-events'), stores.submittingPauses.find()]);
  const ageMs = last?.startedAt === undefined ? Number.POSITIVE_INFINITY : nowMs - last.startedAt.getTime();
  // After a restore from a backup the last run is the backup's, and may look young: the pause is newer.
  const isBeforePause = pause !== undefined && last?.startedAt !== undefined && last.startedAt < pause.pausedAt;
  const limitMs = isBeforePause ? 0 : CATCH_UP_AGE_MS_MAX;
  const isCatchUpDue = ageMs > (last?.state === 'succeeded' ? limitMs : CATCH_UP_RETRY_MS);
  return [
    ...(isCatchUpDue ? ['catch-up-events'] : []),
    ...((await stores.webhookInbox.hasDue(new Date(nowMs))) ? ['process-webhooks'] : []),
  ];
}

export function webhookGauges({ stores, clock }: JobParts): GaugeSource[] {
  return [
    {
      name: 'webhooks',
      help: 'Events of Stripe that wait, or that failed and wait for a person.',
      labels: ['state'],
      read: async () =>
        (await stores.webhookInbox.census()).map(({ state, count }) => ({ value: count, labels: { state } })),
    },
    {
      name: 'webhooks_oldest_seconds',
      help: 'Since when the oldest of them waits.',
      labels: ['state'],
      read: async () =>
        (await stores.webhookInbox.census()).map(({ state, oldestReceivedAt }) => ({
          value: (clock.now() - oldestReceivedAt.getTime()) / 1000,
          labels: { state },
        })),
    },
  ];
}

import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { Clock } from '../platform/clock.ts';
import type { Config } from '../config.ts';
import { DaemonError } from '../platform/errors.ts';
import { CallRate } from '../platform/redis/call-rate.ts';
import { openStripe, type StripeSettings } from '../stripe/client.ts';
import { EventSummaries } from '../reconciliation/event-summaries-stripe.ts';
import { MeterEventAdjustments } from '../submissions/resolving/meter-event-adjustments-stripe.ts';
import { MeterEvents } from '../submissions/sending/meter-events-stripe.ts';
import { type StripeMeter, StripeMeters } from '../meters/meters-stripe.ts';
import { openStripeObjects, type StripeObjects } from './objects-stripe.ts';
import { StripeWrites } from '../stripe/writes.ts';

/** Everything that talks to Stripe, under one pace. */
export interface StripeSide {
  readonly meters: StripeMeters;
  readonly meterEvents: MeterEvents;
  readonly adjustments: MeterEventAdjustments;
  readonly summaries: EventSummaries;
  readonly objects: StripeObjects;
  readonly rate: Pick<CallRate, 'take'>;
  /** The slower pace of reads, of objects and event summaries alike; takes a slot of `rate` too. */
  readonly readRate: Pick<CallRate, 'take'>;
  /** The part of the pace of reads that a backlog of webhooks may take. */
  readonly webhookRate: Pick<CallRate, 'take'>;
  /** The account's meters, remembered for a few seconds. */
  listMeters(): Promise<StripeMeter[]>;
}

/** Reads change nothing and are made again at once where Stripe answers 5xx, or nothing: a run over many has many. */
const READ_TRIES_MAX = 4;
const METERS_REMEMBERED_MS = 5_000;
/** Stripe allows 25 calls a second on each endpoint but the one for meter events (Stripe docs, Rate limits). */
const READS_PER_SECOND_MAX = 20;
/** Of these for a backlog of webhooks: the invoice guard and reconciliation have a date to keep. */
const WEBHOOK_SHARE = 0.5;

/** Returns undefined without a Stripe key: usage is then counted and not submitted. */
export function openStripeSide(config: Config, redis: Redis, clock: Clock): StripeSide | undefined {
  if (config.stripeSecretKey === undefined) return undefined;
  const stripe = openStripe({ ...stripeSettings(config, config.stripeSecretKey), readTriesMax: READ_TRIES_MAX });
  const account = accountOf(config.stripeSecretKey, config.stripeApiBase);
  const perSecondMax = config.stripeCallsPerSecondMax;
  const rate = new CallRate({ redis, clock, perSecondMax, account });
  const ownReadRate = new CallRate({
    redis,
    clock,
    perSecondMax: Math.min(READS_PER_SECOND_MAX, perSecondMax),
    account: `${account}:objects`,
  });
  const readRate = {
    take: async (signal?: AbortSignal): Promise<void> => {
      await ownReadRate.take(signal);
      await rate.take(signal);
    },
  };
  const writes = new StripeWrites({ stripe, pace: () => rate.take(), clock, random: Math.random });
  const meters = new StripeMeters(stripe, writes);
  let remembered: { atMs: number; list: Promise<StripeMeter[]> } | undefined;
  return {
    meters,
    meterEvents: new MeterEvents(writes, clock),
    adjustments: new MeterEventAdjustments(writes),
    summaries: new EventSummaries(stripe),
    objects: openStripeObjects({ stripe, writes }, () => readRate.take()),
    rate,
    readRate,
    webhookRate: new CallRate({
      redis,
      clock,
      perSecondMax: Math.max(1, Math.min(READS_PER_SECOND_MAX, perSecondMax) * WEBHOOK_SHARE),
      account: `${account}:webhooks`,
    }),
    listMeters: () => {
      if (remembered === undefined || clock.now() - remembered.atMs > METERS_REMEMBERED_MS) {
        const list = meters.list();
        remembered = { atMs: clock.now(), list };
        list.catch(() => (remembered = undefined));
      }
      return remembered.list;
    },
  };
}

/** How Stripe is reached. */
export function stripeSettings(config: Config, secretKey: string): StripeSettings {
  return {
    secretKey,
    apiBase: config.stripeApiBase,
    proxy: config.httpsProxy === undefined ? undefined : { url: config.httpsProxy, exceptions: config.noProxy ?? [] },
  };
}

/** A name for the account behind a key that tells nothing of the key. */
function accountOf(secretKey: string, apiBase: string | undefined): string {
  return createHash('sha256')
    .update(`${secretKey} ${apiBase ?? ''}`)
    .digest('hex')
    .slice(0, 12);
}

/** The error of a job that needs Stripe and has no key. */
export function withoutStripe(): DaemonError {
  return new DaemonError({
    kind: 'invalid',
    code: 'stripe_not_configured',
    message: 'STRIPE_SECRET_KEY is not set: usage is counted, and nothing is sent to Stripe.',
  });
}

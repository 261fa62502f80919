import type { Meter } from '../../../src/meters/meter.ts';
import { DaemonError } from '../../../src/platform/errors.ts';
import { Meters, toMeter } from '../../../src/meters/meters-store.ts';
import { openStripe } from '../../../src/stripe/client.ts';
import { listStripeMeters, type StripeMeter } from '../../../src/meters/meters-stripe.ts';
import { readStripeTime } from '../../../src/stripe/server-time.ts';
import { stripeSettings } from '../../../src/daemon/stripe-side.ts';
import { EXIT } from '../../lib/exit-codes.ts';
import { type CheckContext, type Problem, skewProblem } from './check.ts';
import { withDatabase } from './with-database.ts';
import { formulaFault, modeOf } from '../../../src/meters/stripe-meter.ts';

/** An HTTP date has whole seconds. */
const DATE_RESOLUTION_MS = 1_000;

/** Stripe takes the key, has a meter for each of ours, and its clock is ours. Without a key nothing is sent. */
export async function checkStripe({ config }: CheckContext): Promise<Problem[]> {
  if (config.stripeSecretKey === undefined) return [];
  const stripe = openStripe(stripeSettings(config, config.stripeSecretKey));
  const beforeMs = Date.now();
  let theirMs: number | undefined;
  let stripeMeters: StripeMeter[];
  try {
    theirMs = await readStripeTime(stripe);
    stripeMeters = await listStripeMeters(stripe);
  } catch (error) {
    if (!(error instanceof DaemonError)) throw error;
    return [toProblem(error)];
  }
  const read = { theirMs: theirMs ?? beforeMs, beforeMs, afterMs: Date.now(), resolutionMs: DATE_RESOLUTION_MS };
  const skew = skewProblem("Stripe's", read);
  const ours = await withDatabase(config, async ({ db }) => (await new Meters(db).list()).map(toMeter));
  return [
    ...(skew === undefined ? [] : [{ what: skew, todo: 'synchronise our clock by NTP', exitCode: EXIT.failure }]),
    ...ours.flatMap((meter) => meterProblems(meter, stripeMeters)),
  ];
}

function toProblem(error: DaemonError): Problem {
  if (error.code === 'stripe_key_refused') {
    return {
      what: `Stripe refuses the key (${String(error.context['statusCode'])})`,
      todo: 'set STRIPE_SECRET_KEY to a valid key; a restricted one needs to write meter events and read meters',
      exitCode: EXIT.configuration,
    };
  }
  const isAway = error.kind === 'transient';
  return {
    what: error.message,
    todo: isAway ? 'usage is kept meanwhile; see status.stripe.com and STRIPE_API_BASE' : 'see docs/errors.md',
    exitCode: isAway ? EXIT.dependencyDown : EXIT.failure,
  };
}

function meterProblems(ours: Meter, stripeMeters: readonly StripeMeter[]): Problem[] {
  if (ours.stripe === undefined) return [];
  const { eventName } = ours.stripe;
  const meter = stripeMeters.find((candidate) => candidate.eventName === eventName);
  const problem = (what: string, todo: string): Problem => ({ what, todo, exitCode: EXIT.failure });
  if (meter === undefined) {
    return [problem(`Stripe has no meter with the event name ${eventName}`, 'run `tallystick meters sync`')];
  }
  const fault = formulaFault(meter, modeOf(ours, meter));
  const anew = 'it cannot be changed: make a sum meter without a time window under another event name';
  return [
    ...(meter.isActive ? [] : [problem(`Stripe's meter ${eventName} is inactive`, 'reactivate it at Stripe')]),
    ...(fault === undefined ? [] : [problem(`Stripe's meter ${eventName} has ${fault}`, anew)]),
  ];
}

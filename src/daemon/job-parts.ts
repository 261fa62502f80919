import type { Clock } from '../platform/clock.ts';
import type { Config } from '../config.ts';
import { type JobInput, type JobName, readJobInput } from './job-input.ts';
import type { Meter } from '../meters/meter.ts';
import type { Logger } from '../platform/logger.ts';
import type { JobContext, JobHandler } from '../platform/queue/job-worker.ts';
import { toMeter } from '../meters/meters-store.ts';
import type { Stores } from './stores.ts';
import { type StripeSide, withoutStripe } from './stripe-side.ts';

/** What jobs and routes are made of. */
export interface JobParts {
  readonly config: Config;
  readonly stores: Stores;
  readonly stripe: StripeSide | undefined;
  readonly installation: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * A job that is handed its input checked. A run that an earlier version stored with an input that is not taken any more
 * fails before it does anything.
 */
export function withInput<Name extends JobName>(
  job: Name,
  run: (context: Omit<JobContext, 'input'> & { readonly input: JobInput<Name> }) => Promise<object>,
): JobHandler {
  return async (context) => ({ ...(await run({ ...context, input: readJobInput(job, context.input) })) });
}

/** The meters as they stand. */
export async function listMeters(parts: JobParts): Promise<Meter[]> {
  return (await parts.stores.meters.list()).map(toMeter);
}

/** The Stripe side. Throws `stripe_not_configured` without a key. */
export function requireStripe(parts: JobParts): StripeSide {
  if (parts.stripe === undefined) throw withoutStripe();
  return parts.stripe;
}

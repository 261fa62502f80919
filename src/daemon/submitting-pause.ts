import type { GaugeSource } from '../platform/http/metrics.ts';
import type { JobHandler } from '../platform/queue/job-worker.ts';
import type { JobParts } from './job-parts.ts';

/**
 * The same jobs, which do nothing while submitting is paused and say so in their results. A dry run is let through. A run
 * that is under way when the pause begins goes on to its end.
 */
export function unlessPaused<Name extends string>(
  parts: JobParts,
  handlers: Record<Name, JobHandler>,
): Record<Name, JobHandler> {
  const pausing = Object.entries<JobHandler>(handlers).map(([job, handler]): [string, JobHandler] => [
    job,
    async (context) => {
      const pause = context.input['dryRun'] === true ? undefined : await parts.stores.submittingPauses.find();
      return pause === undefined ? handler(context) : { paused: true, pausedAt: pause.pausedAt.toISOString() };
    },
  ]);
  return Object.fromEntries(pausing) as Record<Name, JobHandler>;
}

/** Whether submitting is paused. */
export async function isSubmittingPaused({ stores }: JobParts): Promise<boolean> {
  return (await stores.submittingPauses.find()) !== undefined;
}

export function pauseGauges(parts: JobParts): GaugeSource[] {
  return [
    {
      name: 'submitting_paused',
      help: 'Whether a person stopped submitting: 1 while nothing is sent to Stripe.',
      read: async () => [{ value: (await isSubmittingPaused(parts)) ? 1 : 0 }],
    },
  ];
}

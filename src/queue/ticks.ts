import { schedule, validate, type ScheduledTask } from 'node-cron';
import { DaemonError } from '../errors.ts';

/** A schedule and what it rings. */
export interface Tick {
  readonly name: string;
  /** A cron expression, read in UTC. */
  readonly cron: string;
  readonly ring: (minute: string) => Promise<void>;
}

/** Starts the ticks of a process; a tick that fails is reported and rings again at its next time. */
export function startTicks(
  ticks: readonly Tick[],
  onError: (tick: string, error: unknown) => void,
): () => Promise<void> {
  for (const { name, cron } of ticks) {
    if (!validate(cron)) {
      throw new DaemonError({
        kind: 'invalid',
        code: 'configuration_invalid',
        message: `"${cron}" is not a cron expression (for ${name}).`,
      });
    }
  }
  const tasks: ScheduledTask[] = ticks.map(({ name, cron, ring }) =>
    schedule(
      cron,
      async ({ date }) => {
        try {
          await ring(date.toISOString().slice(0, 16));
        } catch (error) {
          onError(name, error);
        }
      },
      { timezone: 'UTC', noOverlap: true },
    ),
  );
  return async () => {
    for (const task of tasks) await task.destroy();
  };
}

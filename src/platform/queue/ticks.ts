import { schedule, validate, type ScheduledTask } from 'node-cron';
import { DaemonError } from '../errors.ts';

/** A schedule and what it rings. */
export interface Tick {
  readonly name: string;
  /** A cron expression, read in UTC. */
  readonly cron: string;
  readonly ring: (minute: string) => Promise<void>;
}

/** What is told of a tick's end. */
export interface TickListener {
  onRung(tick: string): void;
  onError(tick: string, error: unknown): void;
}

/** Starts the ticks of a process; a tick that fails is reported and rings again at its next time. */
export function startTicks(ticks: readonly Tick[], listener: TickListener): () => Promise<void> {
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
          listener.onRung(name);
        } catch (error) {
          listener.onError(name, error);
        }
      },
      { timezone: 'UTC', noOverlap: true },
    ),
  );
  return async () => {
    for (const task of tasks) await task.destroy();
  };
}

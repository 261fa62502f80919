import type { Command } from 'commander';
import type { JobInput, JobName } from '../../src/domain/job-input.ts';
import { runJob } from './job-run.ts';
import { createApiVerb, runVerb, type VerbText } from './verb.ts';

/** The jobs that can show what they would do. */
export type DryRunJob = { [Name in JobName]: 'dryRun' extends keyof JobInput<Name> ? Name : never }[JobName];

export interface JobVerbText extends VerbText {
  readonly job: DryRunJob;
  /** The result in a line for a person. */
  readonly describe: (result: Record<string, unknown>) => string;
}

/** A verb that runs one job of the daemon and prints its result. */
export function createJobVerb({ job, describe, ...text }: JobVerbText): Command {
  return createApiVerb(text)
    .option('--dry-run', 'show what would be done and change nothing')
    .action(async (options: { dryRun?: boolean }, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const input = options.dryRun === true ? { dryRun: true } : {};
        const { result = {} } = await runJob(api(), { job, input });
        output.result(result, () => (options.dryRun === true ? `would do: ${describe(result)}` : describe(result)));
      });
    });
}

/** `planned 3, calls 3`: the numbers of a result, in its own order. */
export function listCounts(result: Record<string, unknown>): string {
  return Object.entries(result)
    .filter(([, value]) => typeof value === 'number')
    .map(([name, value]) => `${name} ${String(value)}`)
    .join(', ');
}

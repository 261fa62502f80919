import type { Command } from 'commander';
import type { JobInput, JobName } from '../../src/daemon/job-input.ts';
import { followJob } from './follow-run.ts';
import type { JobRun } from './job-run.ts';
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
        const { result, ahead: findAhead } = await followJob({ api: api(), output }, { job, input });
        const ahead = await findAhead();
        output.result({ ...result, ...(ahead && { ahead }) }, () =>
          options.dryRun === true
            ? `would do: ${describe(result)}`
            : [...(ahead === undefined ? [] : [describeAhead(ahead)]), describe(result)].join('\n'),
        );
      });
    });
}

/** What the run came to that was at work when another one was asked for. */
export function describeAhead({ runId, state, result = {}, error }: JobRun): string {
  if (state === 'failed') return `the run before this one (${runId}) failed: ${error?.message ?? 'no reason given'}`;
  return `the run before this one (${runId}): ${listCounts(result)}`;
}

/** `planned 3, calls 3`: the numbers of a result, in its own order. */
export function listCounts(result: Record<string, unknown>): string {
  return Object.entries(result)
    .filter(([, value]) => typeof value === 'number')
    .map(([name, value]) => `${name} ${String(value)}`)
    .join(', ');
}

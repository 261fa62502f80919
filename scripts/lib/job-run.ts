import { setTimeout as delay } from 'node:timers/promises';
import type { JobInput, JobName } from '../../src/daemon/job-input.ts';
import type { ApiClient } from './api-client.ts';
import { CommandError } from './command-error.ts';

/** A run as `GET /v1/runs/{runId}` tells it. */
export interface JobRun {
  readonly runId: string;
  readonly job: string;
  readonly state: 'queued' | 'running' | 'succeeded' | 'failed';
  /** How far long work has come. */
  readonly progress?: { readonly done: number; readonly total: number };
  /** While it is queued: the run of the same job that is at work. */
  readonly waitsFor?: {
    readonly runId: string;
    readonly startedAt?: string;
    readonly progress?: { readonly done: number; readonly total: number };
  };
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly code: string; readonly message: string };
}

const POLL_MS = 200;

/**
 * Asks the daemon to run a job and waits for its end.
 * @param watch called at each look, for progress.
 * @throws CommandError when the job failed.
 */
export async function runJob<Name extends JobName>(
  api: ApiClient,
  request: { job: Name; input?: JobInput<Name> },
  watch?: (run: JobRun) => Promise<void> | void,
): Promise<JobRun> {
  const { runId } = await api.call<{ runId: string }>({ method: 'POST', path: '/v1/runs', body: request });
  for (;;) {
    const run = await api.get<JobRun>(`/v1/runs/${encodeURIComponent(runId)}`);
    await watch?.(run);
    if (run.state === 'succeeded') return run;
    if (run.state === 'failed') {
      throw new CommandError({
        what: `the job ${request.job} failed`,
        why: run.error === undefined ? undefined : `${run.error.code}: ${run.error.message}`,
        todo: `The daemon's log has the details of run ${runId}; jobs can be run again at any time.`,
      });
    }
    await delay(POLL_MS);
  }
}

import type { ApiClient } from './api-client.ts';
import { CommandError } from './command-error.ts';
import { EXIT } from './exit-codes.ts';
import type { JobInput, JobName } from '../../src/daemon/job-input.ts';
import { type JobRun, runJob } from './job-run.ts';
import type { Output } from './output.ts';
import type { Progress } from './progress.ts';

/** A run that has not begun is worth a word after this long. */
const SILENT_MS_MAX = 3_000;
/** A run that nobody begins is not waited for any longer. */
const NOT_BEGUN_MS_MAX = 60_000;

interface Readiness {
  readonly checks?: Readonly<Record<string, string>>;
  readonly reasons?: Readonly<Record<string, string>>;
}

/**
 * Asks the daemon to run a job and waits for its end, telling a person how it goes.
 * @returns its result, and the run that was at work when this one was asked for, as it ended.
 * @throws CommandError when the job failed, or was not begun within a minute.
 */
export async function followJob<Name extends JobName>(
  { api, output }: { api: ApiClient; output: Output },
  request: { job: Name; input: JobInput<Name> },
): Promise<{ result: Record<string, unknown>; ahead: () => Promise<JobRun | undefined> }> {
  const follower = new RunFollower(api, output);
  const { result = {} } = await runJob(api, request, (run) => follower.watch(run));
  return { result, ahead: () => follower.ahead() };
}

/**
 * Follows a run for a person: says what it waits for, shows how far it is, or the run that is at work before it, and gives up
 * when nobody begins it.
 */
class RunFollower {
  readonly #api: ApiClient;
  readonly #output: Output;
  readonly #startedAtMs = performance.now();
  #hasTold = false;
  #ahead: string | undefined;
  #shown: { progress: Progress; total: number } | undefined;

  constructor(api: ApiClient, output: Output) {
    this.#api = api;
    this.#output = output;
  }

  /**
   * Called at each look at the run.
   * @throws CommandError `dependency down` when nobody has begun it within a minute.
   */
  async watch(run: JobRun): Promise<void> {
    if (run.state === 'queued') await this.#whileQueued(run);
    else this.#show(run.progress);
    if (run.state === 'succeeded' || run.state === 'failed') this.#shown?.progress.clear();
  }

  /** The run that was at work when this one was asked for, as it ended; undefined when there was none. */
  async ahead(): Promise<JobRun | undefined> {
    if (this.#ahead === undefined) return undefined;
    return this.#api.get<JobRun>(`/v1/runs/${encodeURIComponent(this.#ahead)}`);
  }

  async #whileQueued({ runId, job, waitsFor }: JobRun): Promise<void> {
    const waitedMs = performance.now() - this.#startedAtMs;
    if (waitsFor !== undefined) {
      if (this.#ahead === undefined) {
        const since = waitsFor.startedAt === undefined ? '' : ` since ${waitsFor.startedAt}`;
        this.#output.note(`another run of ${job} is at work${since}: this one follows it`);
      }
      this.#ahead = waitsFor.runId;
      this.#show(waitsFor.progress);
      return;
    }
    if (this.#ahead !== undefined || waitedMs < SILENT_MS_MAX) return;
    if (!this.#hasTold) {
      this.#hasTold = true;
      this.#output.note(`waiting for a worker to begin run ${runId}: ${await this.#reason()}`);
    }
    if (waitedMs >= NOT_BEGUN_MS_MAX) throw await this.#notBegun(runId, job);
  }

  #show(progress: JobRun['progress']): void {
    if (progress === undefined) return;
    if (this.#shown?.total !== progress.total) {
      this.#shown?.progress.clear();
      this.#shown = { progress: this.#output.progress('at work', progress.total), total: progress.total };
    }
    this.#shown.progress.update(progress.done, `${progress.done} of ${progress.total}`);
  }

  async #notBegun(runId: string, job: string): Promise<CommandError> {
    return new CommandError({
      what: `the job ${job} was not begun in ${NOT_BEGUN_MS_MAX / 1_000} s`,
      why: await this.#reason(),
      todo: `Run ${runId} stays listed and begins by itself; \`tallystick doctor\` names what is down.`,
      exitCode: EXIT.dependencyDown,
    });
  }

  /** What the daemon says of itself. */
  async #reason(): Promise<string> {
    const { body } = await this.#api.send({ method: 'GET', path: '/readyz' });
    const { checks = {}, reasons = {} } = (typeof body === 'object' && body !== null ? body : {}) as Readiness;
    const faults = Object.entries(checks).filter(([, state]) => state !== 'ok');
    if (faults.length === 0) return 'the daemon says that all is well; is there one with the role worker?';
    const words = faults.map(([name, state]) => `${name} ${IN_WORDS[state] ?? state}${inBrackets(reasons[name])}`);
    return `the daemon says: ${words.join(', ')}`;
  }
}

const IN_WORDS: Readonly<Record<string, string>> = {
  away: 'does not answer',
  refuses_writes: 'refuses writes',
  late: 'stands still',
};

function inBrackets(text: string | undefined): string {
  return text === undefined ? '' : ` (${text})`;
}

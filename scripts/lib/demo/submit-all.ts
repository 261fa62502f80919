import type { ApiClient } from '../api-client.ts';
import { CommandError } from '../command-error.ts';
import { runJob } from '../job-run.ts';
import type { Progress } from '../progress.ts';

/** The part of `GET /v1/status` that the demo looks at. */
interface Status {
  readonly journal: { readonly entries: number };
  readonly planDue: number;
  readonly submissions: readonly { readonly state: string; readonly count: number }[];
}

const DELIVERED: readonly string[] = ['accepted', 'duplicate', 'confirmed'];
const RUNS_MAX = 20;
/** Reading the status counts every submission: seldom enough not to slow what it watches. */
const STATUS_MS = 2_000;

/** Derives every waiting customer-hour; returns how many there were. */
export async function aggregateAll(api: ApiClient): Promise<number> {
  let hours = 0;
  for (let runs = 0; runs < RUNS_MAX; runs += 1) {
    const { result } = await runJob(api, { job: 'aggregate-usage' });
    hours += Number(result?.['customerHours'] ?? 0);
    if ((await readStatus(api)).journal.entries === 0) return hours;
  }
  throw new CommandError({ what: 'customer-hours still wait to be aggregated', todo: "Look at the daemon's log." });
}

/** Plans and sends until nothing is due; returns how many submissions Stripe has taken. */
export async function submitAll(api: ApiClient, submissions: number, progress: Progress): Promise<number> {
  for (let runs = 0; runs < RUNS_MAX; runs += 1) {
    let readAt = 0;
    await runJob(api, { job: 'submit-meter-events' }, async () => {
      if (performance.now() - readAt < STATUS_MS) return;
      readAt = performance.now();
      const { delivered } = countOf(await readStatus(api));
      progress.update(delivered, `${delivered} of ${submissions} meter events`);
    });
    const status = await readStatus(api);
    const { delivered, total } = countOf(status);
    progress.update(delivered, `${delivered} of ${submissions} meter events`);
    if (total > 0 && delivered === total && status.planDue === 0) {
      progress.clear();
      return delivered;
    }
  }
  progress.clear();
  const { delivered, total } = countOf(await readStatus(api));
  throw new CommandError({
    what: `Stripe has taken ${delivered} of ${total} submissions`,
    todo: '`tallystick status` says what the others wait for.',
  });
}

function readStatus(api: ApiClient): Promise<Status> {
  return api.get<Status>('/v1/status');
}

function countOf({ submissions }: Status): { delivered: number; total: number } {
  const sum = (rows: Status['submissions']): number => rows.reduce((total, { count }) => total + count, 0);
  return { delivered: sum(submissions.filter(({ state }) => DELIVERED.includes(state))), total: sum(submissions) };
}

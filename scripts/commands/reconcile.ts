import type { Command } from 'commander';
import type { JobInput } from '../../src/daemon/job-input.ts';
import { DRIFT_VERDICTS } from '../../src/reconciliation/reconciliation.ts';
import type { ApiClient } from '../lib/api-client.ts';
import { usageError } from '../lib/command-error.ts';
import { HOUR_MS } from '../../src/platform/durations.ts';
import { EXIT } from '../lib/exit-codes.ts';
import { followJob } from '../lib/follow-run.ts';
import type { Output } from '../lib/output.ts';
import { renderTable } from '../lib/table.ts';
import { explainUnbilled } from '../../src/reconciliation/unbilled-usage.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';
import { renderPlan, type PlanAction } from '../lib/heal-plan-text.ts';
import { describeVerdict } from '../lib/verdict-text.ts';
import { renderJournal } from '../lib/waiting-text.ts';
import { approveCommand } from './reconcile-approve.ts';
import { guardsCommand, releaseCommand } from './reconcile-guards.ts';

interface ReconcileOptions {
  readonly from?: string;
  readonly to?: string;
  readonly customer?: string;
  readonly apply?: boolean;
  readonly dryRun?: boolean;
  readonly fresh?: boolean;
  readonly all?: boolean;
}

/** One comparison of `GET /v1/reconciliations/{id}`. */
interface Comparison {
  readonly customerId: string;
  readonly meter: string;
  readonly periodStart: string;
  readonly verdict: string;
  readonly local: string;
  readonly late: string;
  readonly stripe?: string;
  readonly readAt?: string;
  readonly unbilled?: { readonly quantity: string; readonly reasons: readonly string[] };
  readonly plan: readonly PlanAction[];
}

/** Comparisons that are shown without `--all`; those that drift are shown in any case. */
const ROWS_SHOWN = 50;

export function reconcileCommand(): Command {
  return (
    createApiVerb({
      name: 'reconcile',
      summary: "Lay our figures beside Stripe's. Exit code 5 when they drift.",
      examples: [
        'tallystick reconcile --dry-run',
        'tallystick reconcile --customer acme --from 2026-11-01T00:00:00Z',
        'tallystick reconcile --fresh --all',
        'tallystick reconcile approve 7c2e… --actor ada',
      ],
    })
      // What stands after `approve` or `release` is theirs: `--dry-run` above all.
      .enablePositionalOptions()
      .option('--from <instant>', 'compare periods from this instant on (RFC 3339)')
      .option('--to <instant>', 'compare periods before this instant')
      .option('--customer <id>', 'compare one customer')
      .option('--apply', "heal what is settled and within bounds, if RECONCILE_MODE allows (the daemon's default)")
      .option('--fresh', 'read every total of Stripe anew, within the budget of reads, instead of remembering a match')
      .option('--all', `show every comparison, not only the first ${ROWS_SHOWN}`)
      .option('--dry-run', 'compare and plan, heal nothing')
      .addCommand(approveCommand())
      .addCommand(guardsCommand())
      .addCommand(releaseCommand())
      .action(async (options: ReconcileOptions, command: Command) => {
        await runVerb(command, async ({ api, output }) => {
          const client = api();
          const request = { job: 'reconcile-usage' as const, input: toInput(options) };
          const { result } = await followJob({ api: client, output }, request);
          const verdicts = (result['verdicts'] ?? {}) as Record<string, number>;
          const drifting: Comparison[] = [];
          for (const verdict of DRIFT_VERDICTS.filter((name) => (verdicts[name] ?? 0) > 0)) {
            drifting.push(...(await readComparisons(client, result, { verdict })).data);
          }
          const rest = await readRest(client, result, { drifting, isAll: options.all === true });
          const hasWaiting = countOf(result, 'waiting') > 0;
          const waiting = hasWaiting ? (await readComparisons(client, result, { waits: 'true' })).data : [];
          const comparisons = [...drifting, ...rest];
          await noteWaitingUsage(client, output);
          output.result({ ...result, drifting, comparisons, waitingPlans: waiting }, () =>
            render(result, comparisons, waiting),
          );
          const { person = [] } = (result['aggregates'] ?? {}) as { person?: readonly unknown[] };
          return drifting.length + person.length > 0 ? EXIT.driftFound : EXIT.ok;
        });
      })
  );
}

/** A comparison says nothing of usage that is not derived yet: of what came in this hour, that is as it should be. */
async function noteWaitingUsage(client: ApiClient, output: Output): Promise<void> {
  const { journal } = await client.get<{ journal: { entries: number; oldestOpenedAt?: string } }>('/v1/status');
  const { entries, oldestOpenedAt } = journal;
  if (oldestOpenedAt === undefined || Date.parse(oldestOpenedAt) >= Math.floor(Date.now() / HOUR_MS) * HOUR_MS) return;
  output.note(
    `${renderJournal(entries)}, the oldest since ${oldestOpenedAt}: that usage is in none of these numbers yet. ` +
      'It is aggregated every hour; `tallystick aggregate` does it now.',
  );
}

interface ComparisonPage {
  readonly data: readonly Comparison[];
  readonly nextCursor?: string | null;
}

async function readComparisons(
  client: ApiClient,
  run: Record<string, unknown>,
  query: Readonly<Record<string, string | undefined>>,
): Promise<ComparisonPage> {
  const path = `/v1/reconciliations/${encodeURIComponent(String(run['id']))}`;
  const page = await client.get<{ comparisons: ComparisonPage }>(path, { ...query, limit: '1000' });
  return page.comparisons;
}

/** Comparisons that do not drift: both numbers of each are shown, too. */
async function readRest(
  client: ApiClient,
  run: Record<string, unknown>,
  { drifting, isAll }: { drifting: readonly Comparison[]; isAll: boolean },
): Promise<Comparison[]> {
  const isDrift = new Set<string>(DRIFT_VERDICTS);
  const rest: Comparison[] = [];
  let cursor: string | undefined;
  const wanted = isAll ? Infinity : Math.max(0, ROWS_SHOWN - drifting.length);
  while (rest.length < wanted) {
    const { data, nextCursor } = await readComparisons(client, run, { cursor });
    rest.push(...data.filter(({ verdict }) => !isDrift.has(verdict)));
    cursor = nextCursor ?? undefined;
    if (cursor === undefined) break;
  }
  return rest.slice(0, wanted);
}

function toInput({ from, to, customer, apply, dryRun, fresh }: ReconcileOptions): JobInput<'reconcile-usage'> {
  if (apply === true && dryRun === true) throw usageError('--apply and --dry-run exclude each other', 'Give one.');
  return {
    ...(from !== undefined && { from }),
    ...(to !== undefined && { to }),
    ...(customer !== undefined && { customerId: customer }),
    ...(dryRun === true && { dryRun }),
    ...(fresh === true && { fresh }),
  };
}

function render(
  result: Record<string, unknown>,
  comparisons: readonly Comparison[],
  waiting: readonly Comparison[],
): string {
  const verdicts = Object.entries((result['verdicts'] ?? {}) as Record<string, number>);
  const counts = verdicts.map(([verdict, count]) => `${count} ${verdict}`).join(', ') || 'nothing to compare';
  const head = `${counts}; healed ${countOf(result, 'healed')}, waiting for a person ${countOf(result, 'waiting')}`;
  const remembered = countOf(result, 'remembered');
  const note = remembered === 0 ? '' : `; ${remembered} of the matches as of an earlier read (--fresh reads all)`;
  const compared = verdicts.reduce((sum, [, count]) => sum + count, 0);
  const more = compared > comparisons.length ? [`… and ${compared - comparisons.length} more: --all shows them`] : [];
  const rows = renderComparisons(comparisons, countOf(result, 'startedAtMs'));
  return [`${head}${note}`, ...rows, ...more, ...renderWaiting(String(result['id']), waiting)].join('\n\n');
}

function renderComparisons(comparisons: readonly Comparison[], startedAtMs: number): string[] {
  if (comparisons.length === 0) return [];
  const rows = comparisons.map(({ customerId, meter, periodStart, verdict, readAt, local, late, stripe }) => {
    return [
      customerId,
      meter,
      periodStart.slice(0, 10),
      describeVerdict(verdict, { readAt, startedAtMs }),
      // Late usage is ours, and not in this period at Stripe: without it the numbers are to be equal.
      late === '0' ? local : `${local} (${late} late)`,
      stripe,
    ];
  });
  const unbilled = comparisons.flatMap(({ customerId, meter, unbilled: found }) =>
    found === undefined
      ? []
      : [
          `nothing bills ${found.quantity} of ${customerId}'s ${meter}: ${found.reasons.map(explainUnbilled).join('; ')}`,
        ],
  );
  const columns = ['customer', 'meter', 'period from', 'verdict'].map((heading) => ({ heading }));
  const figures = ['ours', "Stripe's"].map((heading) => ({ heading, align: 'right' as const }));
  return [renderTable([...columns, ...figures], rows), ...(unbilled.length === 0 ? [] : [unbilled.join('\n')])];
}

function renderWaiting(run: string, waiting: readonly Comparison[]): string[] {
  if (waiting.length === 0) return [];
  return [
    'Plans that wait for a person:',
    renderPlan(waiting),
    `Carry them out with: tallystick reconcile approve ${run} --actor <you>` +
      ' (and --accept-surplus for what Stripe holds beyond anything of ours: see docs/runbook.md first)',
  ];
}

function countOf(result: Record<string, unknown>, name: string): number {
  return Number(result[name] ?? 0);
}

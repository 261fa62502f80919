import type { Command } from 'commander';
import type { JobInput } from '../../src/domain/job-input.ts';
import { DRIFT_VERDICTS } from '../../src/domain/reconciliation.ts';
import type { ApiClient } from '../lib/api-client.ts';
import { usageError } from '../lib/command-error.ts';
import { EXIT } from '../lib/exit-codes.ts';
import { runJob } from '../lib/job-run.ts';
import { renderTable } from '../lib/table.ts';
import { explainUnbilled } from '../../src/domain/unbilled-usage.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';
import { renderPlan, type PlanAction } from '../lib/heal-plan-text.ts';
import { approveCommand } from './reconcile-approve.ts';
import { guardsCommand, releaseCommand } from './reconcile-guards.ts';

interface ReconcileOptions {
  readonly from?: string;
  readonly to?: string;
  readonly customer?: string;
  readonly apply?: boolean;
  readonly dryRun?: boolean;
}

/** One comparison of `GET /v1/reconciliations/{id}`. */
interface Comparison {
  readonly customerId: string;
  readonly meter: string;
  readonly periodStart: string;
  readonly verdict: string;
  readonly local: string;
  readonly stripe?: string;
  readonly unbilled?: { readonly quantity: string; readonly reasons: readonly string[] };
  readonly plan: readonly PlanAction[];
}

export function reconcileCommand(): Command {
  return (
    createApiVerb({
      name: 'reconcile',
      summary: "Lay our figures beside Stripe's. Exit code 5 when they drift.",
      examples: [
        'tallystick reconcile --dry-run',
        'tallystick reconcile --customer acme --from 2026-11-01T00:00:00Z',
        'tallystick reconcile approve 7c2e… --actor ada',
      ],
    })
      // What stands after `approve` or `release` is theirs: `--dry-run` above all.
      .enablePositionalOptions()
      .option('--from <instant>', 'compare periods from this instant on (RFC 3339)')
      .option('--to <instant>', 'compare periods before this instant')
      .option('--customer <id>', 'compare one customer')
      .option('--apply', "heal what is settled and within bounds, if RECONCILE_MODE allows (the daemon's default)")
      .option('--dry-run', 'compare and plan, heal nothing')
      .addCommand(approveCommand())
      .addCommand(guardsCommand())
      .addCommand(releaseCommand())
      .action(async (options: ReconcileOptions, command: Command) => {
        await runVerb(command, async ({ api, output }) => {
          const client = api();
          const { result = {} } = await runJob(client, { job: 'reconcile-usage', input: toInput(options) });
          const verdicts = (result['verdicts'] ?? {}) as Record<string, number>;
          const drifting: Comparison[] = [];
          for (const verdict of DRIFT_VERDICTS.filter((name) => (verdicts[name] ?? 0) > 0)) {
            drifting.push(...(await readComparisons(client, result, { verdict })));
          }
          const waiting =
            countOf(result, 'waiting') > 0 ? await readComparisons(client, result, { waits: 'true' }) : [];
          output.result({ ...result, drifting, waitingPlans: waiting }, () => render(result, drifting, waiting));
          const { person = [] } = (result['aggregates'] ?? {}) as { person?: readonly unknown[] };
          return drifting.length + person.length > 0 ? EXIT.driftFound : EXIT.ok;
        });
      })
  );
}

async function readComparisons(
  client: ApiClient,
  run: Record<string, unknown>,
  query: Record<string, string>,
): Promise<readonly Comparison[]> {
  const path = `/v1/reconciliations/${encodeURIComponent(String(run['id']))}`;
  const page = await client.get<{ comparisons: { data: Comparison[] } }>(path, { ...query, limit: '1000' });
  return page.comparisons.data;
}

function toInput({ from, to, customer, apply, dryRun }: ReconcileOptions): JobInput<'reconcile-usage'> {
  if (apply === true && dryRun === true) throw usageError('--apply and --dry-run exclude each other', 'Give one.');
  return {
    ...(from !== undefined && { from }),
    ...(to !== undefined && { to }),
    ...(customer !== undefined && { customerId: customer }),
    ...(dryRun === true && { dryRun }),
  };
}

function render(
  result: Record<string, unknown>,
  drifting: readonly Comparison[],
  waiting: readonly Comparison[],
): string {
  const verdicts = Object.entries((result['verdicts'] ?? {}) as Record<string, number>);
  const counts = verdicts.map(([verdict, count]) => `${count} ${verdict}`).join(', ') || 'nothing to compare';
  const head = `${counts}; healed ${countOf(result, 'healed')}, waiting for a person ${countOf(result, 'waiting')}`;
  return [head, ...renderDrift(drifting), ...renderWaiting(String(result['id']), waiting)].join('\n\n');
}

function renderDrift(drifting: readonly Comparison[]): string[] {
  if (drifting.length === 0) return [];
  const rows = drifting.map(({ customerId, meter, periodStart, verdict, local, stripe }) => {
    return [customerId, meter, periodStart.slice(0, 10), verdict, local, stripe];
  });
  const unbilled = drifting.flatMap(({ customerId, meter, unbilled: found }) =>
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
    `Carry them out with: tallystick reconcile approve ${run} --actor <you>`,
  ];
}

function countOf(result: Record<string, unknown>, name: string): number {
  return Number(result[name] ?? 0);
}

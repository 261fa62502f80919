import type { Command } from 'commander';
import { DRIFT_VERDICTS } from '../../src/domain/reconciliation.ts';
import { usageError } from '../lib/command-error.ts';
import { EXIT } from '../lib/exit-codes.ts';
import { runJob } from '../lib/job-run.ts';
import { renderTable } from '../lib/table.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

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
}

export function reconcileCommand(): Command {
  return createApiVerb({
    name: 'reconcile',
    summary: "Lay our figures beside Stripe's. Exit code 5 when they drift.",
    examples: ['tallystick reconcile --dry-run', 'tallystick reconcile --customer acme --from 2026-11-01T00:00:00Z'],
  })
    .option('--from <instant>', 'compare periods from this instant on (RFC 3339)')
    .option('--to <instant>', 'compare periods before this instant')
    .option('--customer <id>', 'compare one customer')
    .option('--apply', "heal what is settled and within bounds, if RECONCILE_MODE allows (the daemon's default)")
    .option('--dry-run', 'compare and plan, heal nothing')
    .action(async (options: ReconcileOptions, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const client = api();
        const { result = {} } = await runJob(client, { job: 'reconcile-usage', input: toInput(options) });
        const verdicts = (result['verdicts'] ?? {}) as Record<string, number>;
        const drifting: Comparison[] = [];
        for (const verdict of DRIFT_VERDICTS.filter((name) => (verdicts[name] ?? 0) > 0)) {
          const path = `/v1/reconciliations/${encodeURIComponent(String(result['id']))}`;
          const page = await client.get<{ comparisons: { data: Comparison[] } }>(path, { verdict });
          drifting.push(...page.comparisons.data);
        }
        output.result({ ...result, drifting }, () => render(result, drifting));
        const { person = [] } = (result['aggregates'] ?? {}) as { person?: readonly unknown[] };
        return drifting.length + person.length > 0 ? EXIT.driftFound : EXIT.ok;
      });
    });
}

function toInput({ from, to, customer, apply, dryRun }: ReconcileOptions): Record<string, unknown> {
  if (apply === true && dryRun === true) throw usageError('--apply and --dry-run exclude each other', 'Give one.');
  return {
    ...(from !== undefined && { from }),
    ...(to !== undefined && { to }),
    ...(customer !== undefined && { customerId: customer }),
    ...(dryRun === true && { apply: false }),
    ...(apply === true && { apply: true }),
  };
}

function render(result: Record<string, unknown>, drifting: readonly Comparison[]): string {
  const verdicts = Object.entries((result['verdicts'] ?? {}) as Record<string, number>);
  const counts = verdicts.map(([verdict, count]) => `${count} ${verdict}`).join(', ') || 'nothing to compare';
  const head = `${counts}; healed ${countOf(result, 'healed')}, waiting for a person ${countOf(result, 'waiting')}`;
  if (drifting.length === 0) return head;
  const rows = drifting.map(({ customerId, meter, periodStart, verdict, local, stripe }) => {
    return [customerId, meter, periodStart.slice(0, 10), verdict, local, stripe];
  });
  const columns = ['customer', 'meter', 'period from', 'verdict'].map((heading) => ({ heading }));
  const figures = ['ours', "Stripe's"].map((heading) => ({ heading, align: 'right' as const }));
  return `${head}\n\n${renderTable([...columns, ...figures], rows)}`;
}

function countOf(result: Record<string, unknown>, name: string): number {
  return Number(result[name] ?? 0);
}

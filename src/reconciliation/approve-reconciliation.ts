import { boundary } from '../platform/boundary.ts';
import { acceptSurplus, type HealAction, isSamePlan } from './heal-plan.ts';
import { DaemonError } from '../platform/errors.ts';
import { carryOutPlan } from './carry-out-plan.ts';
import { comparePair } from './compare-pair.ts';
import { listPairs } from './list-pairs.ts';
import type { PairResult } from './pair.ts';
import { keyOf, newRun, type ReconcileUsageDeps, rememberedBy, saveResult } from './reconcile-usage.ts';

/** Each is compared with Stripe while the caller waits. */
const ROWS_MAX = 50;

/** A comparison whose plan waits. */
export interface WaitingRow {
  readonly customerId: string;
  readonly meter: string;
  readonly periodFromMs: number;
  readonly plan: readonly HealAction[];
}

export interface ApproveReconciliationDeps extends Omit<ReconcileUsageDeps, 'results'> {
  readonly results: ReconcileUsageDeps['results'] & {
    hasRun(id: string): Promise<boolean>;
    waitingRows(query: { run: string; customerId?: string; meter?: string; limit: number }): Promise<WaitingRow[]>;
    recordApproval(run: string, approval: Approval): Promise<void>;
    finishApproval(run: string, approval: { id: string; applied: number; rows: readonly WaitingRow[] }): Promise<void>;
  };
}

/** One decision, as it is kept on the run. */
export interface Approval {
  readonly id: string;
  readonly actor: string;
  readonly atMs: number;
  readonly reason?: string;
  readonly acceptSurplus?: true;
  readonly rows: readonly Omit<WaitingRow, 'plan'>[];
}

export interface ApproveReconciliationInput {
  /** The run whose plans wait. */
  readonly id: string;
  readonly actor: string;
  readonly reason?: string;
  readonly customerId?: string;
  readonly meter?: string;
  /** Takes back, too, what Stripe holds beyond anything that our submissions explain. */
  readonly acceptSurplus?: boolean;
  readonly dryRun?: boolean;
}

export interface ApprovalResult {
  /** Absent for a dry run. */
  readonly id?: string;
  /** Comparisons whose plans are carried out, with those plans. */
  readonly rows: readonly WaitingRow[];
  /** Comparisons of which something is not carried out, with that: it waits on. */
  readonly left: readonly WaitingRow[];
  /** Corrections that were made. */
  readonly applied: number;
}

/**
 * Carries out plans that wait for a person. Each pair is compared anew, and only a plan that is still the same is carried
 * out: nothing is, when one of them has changed. The decision is recorded before.
 * @throws DaemonError `reconciliation_not_found`, `nothing_waits`, `approval_too_large`, `surplus_not_accepted`, and
 *   `plan_changed`, which names the run that holds the new plans.
 */
export async function approveReconciliation(
  deps: ApproveReconciliationDeps,
  input: ApproveReconciliationInput,
): Promise<ApprovalResult> {
  const waiting = await listWaiting(deps, input);
  const compared = await compareAnew(deps, waiting, input.dryRun !== true);
  const changed = waiting.filter((row, index) => !isSamePlan(row.plan, compared[index]?.plan ?? []));
  if (changed.length > 0) throw await planChanged(deps, input, compared);
  const plans =
    input.acceptSurplus === true ? waiting.map((row) => ({ ...row, plan: acceptSurplus(row.plan) })) : waiting;
  const decided = plans.flatMap((row, index) => {
    const result = compared[index];
    const plan = row.plan.filter(({ kind }) => kind !== 'person');
    return result === undefined || plan.length === 0 ? [] : [{ row: { ...row, plan }, result }];
  });
  const rows = decided.map(({ row }) => row);
  const left = plans.flatMap((row) => {
    const plan = row.plan.filter(({ kind }) => kind === 'person');
    return plan.length === 0 ? [] : [{ ...row, plan }];
  });
  if (rows.length === 0) throw surplusNotAccepted(waiting);
  if (input.dryRun === true) return { rows, left, applied: 0 };
  const id = deps.newId();
  await deps.results.recordApproval(input.id, toApproval(input, { id, atMs: deps.clock.now(), rows }));
  await boundary('approve.recorded');
  let applied = 0;
  for (const { row, result } of decided) {
    const readAtMs = result.memory?.readAtMs ?? deps.clock.now();
    applied += await carryOutPlan(deps, { pair: result.pair, plan: row.plan, readAtMs });
  }
  await deps.results.finishApproval(input.id, { id, applied, rows });
  await boundary('approve.finished');
  return { id, rows, left, applied };
}

async function listWaiting(deps: ApproveReconciliationDeps, input: ApproveReconciliationInput): Promise<WaitingRow[]> {
  const { id: run, customerId, meter } = input;
  if (!(await deps.results.hasRun(run))) {
    throw new DaemonError({
      kind: 'not-found',
      code: 'reconciliation_not_found',
      message: 'No reconciliation run has this id.',
    });
  }
  const waiting = await deps.results.waitingRows({
    run,
    ...(customerId !== undefined && { customerId }),
    ...(meter !== undefined && { meter }),
    limit: ROWS_MAX + 1,
  });
  if (waiting.length === 0) {
    throw new DaemonError({
      kind: 'conflict',
      code: 'nothing_waits',
      message: 'No plan of this run waits for a person, or none of this customer and meter.',
    });
  }
  if (waiting.length > ROWS_MAX) {
    throw new DaemonError({
      kind: 'invalid',
      code: 'approval_too_large',
      message: `More than ${ROWS_MAX} plans wait: approve those of one customer or meter at a time.`,
    });
  }
  return waiting;
}

/** Compares the pairs of rows, in their order; undefined for a period that the customer's calendar no longer has. */
async function compareAnew(
  deps: ApproveReconciliationDeps,
  rows: readonly WaitingRow[],
  mayFinish: boolean,
): Promise<(PairResult | undefined)[]> {
  const results: (PairResult | undefined)[] = [];
  for (const { customerId, meter, periodFromMs } of rows) {
    const range = { fromMs: periodFromMs, toMs: periodFromMs + 1 };
    const [pair] = await listPairs(deps, { ...range, customerId, meter, nowMs: deps.clock.now() });
    if (pair?.period.fromMs !== periodFromMs) {
      results.push(undefined);
      continue;
    }
    const memory = (await rememberedBy(deps, [pair])).get(keyOf(pair));
    const options = { mayRead: true, isReadAnyway: true, mayHeal: false, mayFinish, bounds: deps.bounds };
    results.push(await comparePair(deps, pair, { ...options, ...(memory && { memory }) }));
  }
  return results;
}

/** Stores the new comparisons as a run of their own, which can be approved in turn. */
async function planChanged(
  deps: ApproveReconciliationDeps,
  input: ApproveReconciliationInput,
  compared: readonly (PairResult | undefined)[],
): Promise<DaemonError> {
  const run = newRun(deps, { mode: 'report', input: { approves: input.id } });
  for (const result of compared) {
    if (result === undefined) continue;
    await saveResult(deps, run.id, result);
    run.reads += result.reads;
    run.waiting += result.waits ? 1 : 0;
    run.verdicts[result.verdict] = (run.verdicts[result.verdict] ?? 0) + 1;
  }
  run.endedAtMs = deps.clock.now();
  await deps.results.saveRun(run);
  return new DaemonError({
    kind: 'conflict',
    code: 'plan_changed',
    message: `A plan is another one now, and nothing was done. The run ${run.id} has the present ones.`,
    context: { run: run.id },
  });
}

function surplusNotAccepted(rows: readonly WaitingRow[]): DaemonError {
  const reasons = rows.flatMap(({ plan }) => plan.flatMap((action) => ('reason' in action ? [action.reason] : [])));
  return new DaemonError({
    kind: 'conflict',
    code: 'surplus_not_accepted',
    message:
      `Nothing of this can be carried out as it is (${[...new Set(reasons)].join(', ')}). ` +
      'With acceptSurplus, usage at Stripe that our submissions do not explain (stripe_holds_more) is taken back.',
  });
}

function toApproval(
  { actor, reason, acceptSurplus: isSurplusAccepted }: ApproveReconciliationInput,
  made: { id: string; atMs: number; rows: readonly WaitingRow[] },
): Approval {
  return {
    id: made.id,
    actor,
    atMs: made.atMs,
    ...(reason !== undefined && { reason }),
    ...(isSurplusAccepted === true && { acceptSurplus: true }),
    rows: made.rows.map(({ customerId, meter, periodFromMs }) => ({ customerId, meter, periodFromMs })),
  };
}

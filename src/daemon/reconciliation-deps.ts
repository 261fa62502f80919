import { randomUUID } from 'node:crypto';
import type { ApproveReconciliationDeps } from '../reconciliation/approve-reconciliation.ts';
import type { Pair, PairMemory, PairResult, Scope, SummaryRead } from '../reconciliation/pair.ts';
import type { ReconciliationRun } from '../reconciliation/reconcile-usage.ts';
import { isAdditive } from '../meters/meter.ts';
import type { ClosedPeriod } from '../reconciliation/heal-plan.ts';
import { canonicalQuantity, isZeroQuantity, type Quantity } from '../platform/quantity.ts';
import { HOUR_MS } from '../platform/durations.ts';
import type { ReconciliationPair, ReconciliationRow } from '../reconciliation/reconciliations-store.ts';
import { periodKey } from '../aggregation/usage-periods-store.ts';
import { type JobParts, listMeters, requireStripe } from './job-parts.ts';
import type { Stores } from './stores.ts';
import type { StripeSide } from './stripe-side.ts';

/** What reconciliation is handed, and the approval of what it left waiting. */
export function reconciliationDeps(parts: JobParts): ApproveReconciliationDeps {
  const { stores, config, clock, log } = parts;
  const stripe = requireStripe(parts);
  return {
    ...pairDeps(parts, stripe),
    customerIds: () => stores.ledger.customerIds(),
    billingOf: (ids) => stores.customers.billingOf(ids),
    meters: () => listMeters(parts),
    stripeMeters: () => stripe.listMeters(),
    memories: {
      pairs: async (ids) => (await stores.reconciliations.pairs(ids)).map(toMemory),
      save: (memory) => stores.reconciliations.savePair(toPairDocument(memory)),
    },
    results: resultsOf(stores),
    rawHours: (customerId, fromHour) => stores.aggregateChecks.rawHours(customerId, fromHour),
    waitingHours: (customerId, fromHour) => stores.aggregateChecks.waitingHours(customerId, fromHour),
    compareStep: (step) => stores.aggregateChecks.compareStep(step),
    storedHours: (customerId, meters, fromHour) => stores.aggregateChecks.storedHours(customerId, meters, fromHour),
    requeue: (pairs) => stores.aggregateChecks.requeue(pairs, new Date(clock.now())),
    mode: config.reconcileMode,
    bounds: {
      fractionMax: config.healFractionMax,
      ...(config.healQuantityMax !== undefined && { quantityMax: config.healQuantityMax }),
    },
    summaryReadsMax: config.summaryReadsPerRunMax,
    newId: () => randomUUID(),
    log,
  };
}

/** What comparing and mending one pair takes. */
function pairDeps(
  parts: JobParts,
  stripe: StripeSide,
): Pick<
  ApproveReconciliationDeps,
  | 'ledger'
  | 'submissions'
  | 'corrections'
  | 'cancel'
  | 'localFigure'
  | 'lateUsage'
  | 'finalPeriods'
  | 'summaries'
  | 'summaryRereadMs'
  | 'summaryLagMaxMs'
  | 'installation'
  | 'clock'
> {
  const { stores, config, clock, installation } = parts;
  return {
    ledger: stores.ledger,
    submissions: stores.ledger,
    corrections: stores.corrections,
    cancel: async (call) => {
      await stripe.rate.take();
      return stripe.adjustments.cancel(call);
    },
    localFigure: (pair) => localFigure(stores, pair),
    lateUsage: (scope) => lateUsageOf(stores, scope),
    finalPeriods: (pair) => finalPeriodsOf(stores, pair),
    summaries: {
      total: (range) => counted(stripe, (beforeCall) => stripe.summaries.total(range, beforeCall)),
      hourly: (range) => counted(stripe, (beforeCall) => stripe.summaries.hourly(range, beforeCall)),
    },
    summaryRereadMs: config.summaryRereadMs,
    summaryLagMaxMs: config.summaryLagMaxMs,
    installation,
    clock,
  };
}

/** Reads event summaries at the pace of reads, and counts the calls. */
async function counted<T>(
  stripe: StripeSide,
  read: (beforeCall: () => Promise<void>) => Promise<T>,
): Promise<SummaryRead<T>> {
  let reads = 0;
  const value = await read(async () => {
    await stripe.readRate.take();
    reads += 1;
  });
  return { value, reads };
}

async function localFigure(stores: Stores, pair: Pair): Promise<Quantity> {
  const { customer, meter, period, fromMs } = pair;
  if (isAdditive(meter.aggregation)) {
    const range = {
      customerId: customer.customerId,
      meter: meter.key,
      from: new Date(fromMs),
      to: new Date(period.toMs),
    };
    return canonicalQuantity((await stores.usageAggregates.sums(range)).quantity.toString());
  }
  const row = await stores.usagePeriods.find(periodKey(customer.customerId, meter.key, new Date(period.fromMs)));
  return row === null ? '0' : canonicalQuantity(row.quantity.toString());
}

/** Entries that wait, of which one tells that somebody has to decide. */
const LATE_ENTRIES_MAX = 1_000;

async function lateUsageOf(stores: Stores, scope: Scope): Promise<{ sum: Quantity; isWaiting: boolean }> {
  const sum = await stores.lateUsage.sumOf(scope);
  if (isZeroQuantity(sum)) return { sum, isWaiting: false };
  const { customerId, meter } = scope;
  const waiting = await stores.lateUsage.list({ state: 'waiting', customerId, meter, limit: LATE_ENTRIES_MAX });
  // What Stripe took, if too late for the invoice, is delivered all the same.
  const undelivered = waiting.filter(({ reason }) => reason !== 'accepted_after_finalization');
  const isInScope = (atMs: number): boolean => atMs >= scope.fromMs && atMs < scope.toMs;
  return { sum, isWaiting: undelivered.some(({ timestamp }) => isInScope(timestamp.getTime())) };
}

async function finalPeriodsOf(stores: Stores, pair: Pair): Promise<ClosedPeriod[]> {
  const { stripeCustomerId } = pair.customer;
  if (stripeCustomerId === undefined) return [];
  const finals = await stores.invoices.finalised([stripeCustomerId], new Date(pair.period.fromMs));
  return (finals.get(stripeCustomerId) ?? []).filter(({ stripeMeterId }) => stripeMeterId === pair.stripeMeter?.id);
}

function resultsOf(stores: Stores): ApproveReconciliationDeps['results'] {
  const { reconciliations } = stores;
  const keyOf = (run: string, row: { customerId: string; meter: string; periodFromMs: number }) => ({
    run,
    customerId: row.customerId,
    meter: row.meter,
    periodStart: new Date(row.periodFromMs),
  });
  return {
    saveRow: (run, result) => reconciliations.saveRow(toRow(run, result)),
    saveRun: (run) => reconciliations.saveRun(toRunDocument(run)),
    hasRun: async (id) => (await reconciliations.findRun(id)) !== null,
    waitingRows: async (query) =>
      (await reconciliations.listRows({ ...query, waits: true })).map(({ _id, plan }) => ({
        customerId: _id.customerId,
        meter: _id.meter,
        periodFromMs: _id.periodStart.getTime(),
        plan,
      })),
    recordApproval: (run, { atMs, rows, ...approval }) =>
      reconciliations.recordApproval(run, {
        ...approval,
        at: new Date(atMs),
        rows: rows.map(({ customerId, meter, periodFromMs }) => ({
          customerId,
          meter,
          periodStart: new Date(periodFromMs),
        })),
      }),
    finishApproval: (run, { id, applied, rows }) =>
      reconciliations.finishApproval(run, { id, applied, rows: rows.map((row) => keyOf(run, row)) }),
  };
}

function toMemory(pair: ReconciliationPair): PairMemory {
  const { readings } = pair;
  return {
    customerId: pair._id.customerId,
    meter: pair._id.meter,
    periodFromMs: pair._id.periodStart.getTime(),
    readAtMs: pair.readAt.getTime(),
    verdict: pair.verdict,
    ...(pair.matchedFingerprint !== undefined && { matchedFingerprint: pair.matchedFingerprint }),
    ...(pair.matchedTotal !== undefined && { matchedTotal: pair.matchedTotal }),
    ...(readings && { readings: readings.map(({ at, ...reading }) => ({ ...reading, atMs: at.getTime() })) }),
    ...(pair.rereadAt && { rereadAtMs: pair.rereadAt.getTime() }),
  };
}

function toPairDocument(memory: PairMemory): ReconciliationPair {
  const { readings } = memory;
  return {
    _id: { customerId: memory.customerId, meter: memory.meter, periodStart: new Date(memory.periodFromMs) },
    readAt: new Date(memory.readAtMs),
    verdict: memory.verdict,
    ...(memory.matchedFingerprint !== undefined && { matchedFingerprint: memory.matchedFingerprint }),
    ...(memory.matchedTotal !== undefined && { matchedTotal: memory.matchedTotal }),
    ...(readings && { readings: readings.map(({ atMs, ...reading }) => ({ ...reading, at: new Date(atMs) })) }),
    ...(memory.rereadAtMs !== undefined && { rereadAt: new Date(memory.rereadAtMs) }),
  };
}

function toRow(run: string, result: PairResult): ReconciliationRow {
  const { pair, figures } = result;
  return {
    _id: {
      run,
      customerId: pair.customer.customerId,
      meter: pair.meter.key,
      periodStart: new Date(pair.period.fromMs),
    },
    from: new Date(result.fromMs),
    to: new Date(result.toMs),
    verdict: result.verdict,
    local: figures.local,
    delivered: figures.delivered,
    inFlight: figures.inFlight,
    blocked: figures.blocked,
    rejected: figures.rejected,
    late: figures.late,
    ...(result.stripe !== undefined && { stripe: result.stripe }),
    ...(result.readAtMs !== undefined && { readAt: new Date(result.readAtMs) }),
    hours: [...result.hours],
    ...(result.note !== undefined && { note: result.note }),
    ...(result.unbilled && {
      unbilled: { quantity: result.unbilled.quantity, reasons: [...result.unbilled.reasons] },
    }),
    plan: [...result.plan],
    applied: result.applied,
    ...(result.waits && { waits: true }),
  };
}

function toRunDocument(run: ReconciliationRun): Parameters<Stores['reconciliations']['saveRun']>[0] {
  return {
    _id: run.id,
    startedAt: new Date(run.startedAtMs),
    ...(run.endedAtMs !== undefined && { endedAt: new Date(run.endedAtMs) }),
    mode: run.mode,
    input: run.input,
    reads: run.reads,
    verdicts: run.verdicts,
    aggregates: {
      checked: run.aggregates.checked,
      requeued: run.aggregates.requeued,
      person: run.aggregates.person.map(({ hour, ...difference }) => ({
        ...difference,
        windowStart: new Date(hour * HOUR_MS),
      })),
    },
    healed: run.healed,
    waiting: run.waiting,
  };
}

import { randomUUID } from 'node:crypto';
import type { Pair, PairMemory, PairResult } from '../../jobs/compare-pair.ts';
import type { ReconciliationRun, reconcileUsage } from '../../jobs/reconcile-usage.ts';
import { isAdditive } from '../domain/meter.ts';
import { canonicalQuantity, type Quantity } from '../domain/quantity.ts';
import { HOUR_MS } from '../domain/window.ts';
import type { ReconciliationPair } from '../storage/reconciliations.ts';
import { periodKey } from '../storage/usage-periods.ts';
import { type JobParts, listMeters, requireStripe } from './job-parts.ts';
import type { Stores } from './stores.ts';

/** What reconciliation is handed. */
export function reconciliationDeps(parts: JobParts): Parameters<typeof reconcileUsage>[0] {
  const { stores, config, clock, log } = parts;
  const stripe = requireStripe(parts);
  return {
    customerIds: () => stores.ledger.customerIds(),
    billingOf: (ids) => stores.customers.billingOf(ids),
    meters: () => listMeters(parts),
    stripeMeters: () => stripe.listMeters(),
    ledger: stores.ledger,
    localFigure: (pair) => localFigure(stores, pair),
    summaries: {
      total: async (range) => {
        await stripe.rate.take();
        return stripe.summaries.total(range);
      },
      hourly: async (range) => {
        await stripe.rate.take();
        return stripe.summaries.hourly(range);
      },
    },
    memories: {
      pairs: async (ids) => (await stores.reconciliations.pairs(ids)).map(toMemory),
      save: (memory) => stores.reconciliations.savePair(toPairDocument(memory)),
    },
    results: {
      saveRow: (run, result) => stores.reconciliations.saveRow(toRow(run, result)),
      saveRun: (run) => stores.reconciliations.saveRun(toRunDocument(run)),
    },
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
    summaryRereadMs: config.summaryRereadMs,
    summaryLagMaxMs: config.summaryLagMaxMs,
    installation: parts.installation,
    newId: () => randomUUID(),
    clock,
    log,
  };
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

function toMemory(pair: ReconciliationPair): PairMemory {
  const { firstRead } = pair;
  return {
    customerId: pair._id.customerId,
    meter: pair._id.meter,
    periodFromMs: pair._id.periodStart.getTime(),
    readAtMs: pair.readAt.getTime(),
    verdict: pair.verdict,
    ...(pair.matchedFingerprint !== undefined && { matchedFingerprint: pair.matchedFingerprint }),
    ...(pair.matchedTotal !== undefined && { matchedTotal: pair.matchedTotal }),
    ...(firstRead && {
      firstRead: { atMs: firstRead.at.getTime(), fingerprint: firstRead.fingerprint, hours: firstRead.hours },
    }),
    ...(pair.rereadAt && { rereadAtMs: pair.rereadAt.getTime() }),
  };
}

function toPairDocument(memory: PairMemory): ReconciliationPair {
  const { firstRead } = memory;
  return {
    _id: { customerId: memory.customerId, meter: memory.meter, periodStart: new Date(memory.periodFromMs) },
    readAt: new Date(memory.readAtMs),
    verdict: memory.verdict,
    ...(memory.matchedFingerprint !== undefined && { matchedFingerprint: memory.matchedFingerprint }),
    ...(memory.matchedTotal !== undefined && { matchedTotal: memory.matchedTotal }),
    ...(firstRead && {
      firstRead: { at: new Date(firstRead.atMs), fingerprint: firstRead.fingerprint, hours: [...firstRead.hours] },
    }),
    ...(memory.rereadAtMs !== undefined && { rereadAt: new Date(memory.rereadAtMs) }),
  };
}

function toRow(run: string, result: PairResult): Parameters<Stores['reconciliations']['saveRow']>[0] {
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
    ...(result.stripe !== undefined && { stripe: result.stripe }),
    hours: [...result.hours],
    ...(result.note !== undefined && { note: result.note }),
    plan: [...result.plan],
    applied: result.applied,
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

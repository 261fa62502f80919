import { aggregateUsage } from '../../jobs/aggregate-usage.ts';
import { planSubmissions } from '../../jobs/plan-submissions.ts';
import { reconcileUsage } from '../../jobs/reconcile-usage.ts';
import { requeueUsage } from '../../jobs/requeue-usage.ts';
import { submitMeterEvents } from '../../jobs/submit-meter-events.ts';
import { syncMeters } from '../../jobs/sync-meters.ts';
import { DaemonError } from '../errors.ts';
import type { JobHandler } from '../queue/job-worker.ts';
import { inDerivationRun } from '../storage/derivation-run.ts';
import { Lanes } from '../storage/lanes.ts';
import { type JobParts, listMeters, requireStripe } from './job-parts.ts';
import { reconciliationDeps } from './reconciliation-deps.ts';

/** The jobs by name: what the queue runs, and what `POST /v1/runs` accepts. */
export function jobHandlers(parts: JobParts): Record<string, JobHandler> {
  return {
    'aggregate-usage': ({ input, signal }) =>
      toResult(aggregateUsage(aggregationDeps(parts), { dryRun: input['dryRun'] === true, signal })),
    'requeue-usage': () => toResult(requeueUsage(requeueDeps(parts))),
    'submit-meter-events': ({ input, signal }) => submit(parts, input['dryRun'] === true, signal),
    'sync-meters': async ({ input }) => {
      const { meters } = requireStripe(parts);
      return toResult(
        syncMeters({ meters: () => listMeters(parts), stripeMeters: meters }, { dryRun: input['dryRun'] === true }),
      );
    },
    'reconcile-usage': async ({ input, signal }) => {
      requireStripe(parts);
      await parts.stores.ledger.finishReplacements(new Date(parts.clock.now()));
      return toResult(reconcileUsage(reconciliationDeps(parts), { ...toReconcileInput(input), signal }));
    },
  };
}

function aggregationDeps({ stores, clock, log }: JobParts): Parameters<typeof aggregateUsage>[0] {
  return { inRun: (work) => inDerivationRun(stores.database.db, work), clock, log };
}

function requeueDeps({ stores, clock }: JobParts): Parameters<typeof requeueUsage>[0] {
  return {
    clock,
    customers: stores.customers,
    meters: stores.meters,
    usageEvents: stores.usageEvents,
    dirtyHours: stores.dirtyHours,
    aggregates: stores.usageAggregates,
    periods: stores.usagePeriods,
  };
}

function planDeps({ stores, config, installation, clock }: JobParts): Parameters<typeof planSubmissions>[0] {
  return {
    outbox: stores.outbox,
    billingOf: (ids) => stores.customers.billingOf(ids),
    installation,
    windowSettleMs: config.windowSettleMs,
    clock,
  };
}

async function submit(parts: JobParts, dryRun: boolean, signal: AbortSignal): Promise<Record<string, unknown>> {
  const { stores, clock, log } = parts;
  const stripe = requireStripe(parts);
  if (dryRun) return toResult(planSubmissions(planDeps(parts), { meters: await listMeters(parts), dryRun }));
  await stores.ledger.finishReplacements(new Date(clock.now()));
  const plan = async (): Promise<number> =>
    (await planSubmissions(planDeps(parts), { meters: await listMeters(parts) })).planned;
  try {
    return await toResult(
      submitMeterEvents(
        {
          entries: stores.outboxEntries,
          lanes: new Lanes(stores.leases, clock),
          plan,
          meters: () => listMeters(parts),
          stripeMeters: () => stripe.listMeters(),
          billingOf: (ids) => stores.customers.billingOf(ids),
          takeCallToken: (abort) => stripe.rate.take(abort),
          send: (call) => stripe.meterEvents.send(call),
          random: Math.random,
          clock,
          log,
        },
        { signal },
      ),
    );
  } finally {
    stores.outbox.forget();
  }
}

function toReconcileInput(input: Record<string, unknown>): {
  fromMs?: number;
  toMs?: number;
  customerId?: string;
  apply?: boolean;
} {
  const { from, to, customerId, apply } = input as Record<'from' | 'to' | 'customerId' | 'apply', unknown>;
  return {
    ...(from !== undefined && { fromMs: toInstant('from', from) }),
    ...(to !== undefined && { toMs: toInstant('to', to) }),
    ...(typeof customerId === 'string' && { customerId }),
    ...(typeof apply === 'boolean' && { apply }),
  };
}

function toInstant(name: string, value: unknown): number {
  const instantMs = typeof value === 'string' ? Date.parse(value) : Number.NaN;
  if (!Number.isNaN(instantMs)) return instantMs;
  throw new DaemonError({ kind: 'invalid', code: 'input_invalid', message: `${name} must be an RFC 3339 instant.` });
}

async function toResult(work: Promise<object>): Promise<Record<string, unknown>> {
  return { ...(await work) };
}

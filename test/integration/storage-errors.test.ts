/** A store that is away is trouble that passes: a job is then tried again, and a request answered with 503. */
import { MongoClient } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { DaemonError } from '../../src/platform/errors.ts';
import { AggregateChecks } from '../../src/reconciliation/aggregate-check-store.ts';
import { DirtyHours } from '../../src/usage/dirty-hours-store.ts';
import { Doubts } from '../../src/reconciliation/doubts-store.ts';
import { installationId } from '../../src/platform/mongo/installation.ts';
import { Leases } from '../../src/platform/mongo/leases.ts';
import { Ledger } from '../../src/submissions/ledger-store.ts';
import { MeterSubmissions } from '../../src/submissions/meter-submissions-store.ts';
import { Reconciliations } from '../../src/reconciliation/reconciliations-store.ts';
import { RejectedEvents } from '../../src/usage/rejected-events-store.ts';
import { Runs } from '../../src/platform/mongo/runs.ts';
import { UsageAggregates } from '../../src/aggregation/usage-aggregates-store.ts';
import { UsagePeriods } from '../../src/aggregation/usage-periods-store.ts';

const AT = new Date(0);
const ROWS = { customerId: 'acme', meter: 'calls', from: AT, to: AT };
const HOUR = { stripeCustomerId: 'cus_1', stripeMeterId: 'mtr_1', hourMs: 0 };

describe('every statement', () => {
  it('says that the store is away when it is', async () => {
    const client = new MongoClient('mongodb://127.0.0.1:1', { serverSelectionTimeoutMS: 50 });
    const db = client.db('away');
    const submissions = new MeterSubmissions(db);
    const statements: Record<string, () => Promise<unknown>> = {
      'leases.acquire': () => new Leases(db, 'me').acquire(['a'], 1_000),
      'leases.release': () => new Leases(db, 'me').release(['a']),
      'runs.start': () => new Runs(db).start({ _id: 'r', job: 'j', trigger: 'tick', input: {} }, AT),
      'runs.succeed': () => new Runs(db).succeed('r', {}, AT),
      'runs.last': () => new Runs(db).last('j'),
      'submissions.listDue': () => submissions.listDue({ now: AT, firstAttemptMin: AT, limit: 1 }),
      'submissions.nextDueAt': () => submissions.nextDueAt(AT),
      'submissions.census': () => submissions.census(),
      'submissions.oldestOpen': () => submissions.oldestOpen(),
      'submissions.inState': () => submissions.inState('blocked', 10).next(),
      'ledger.sums': () => new Ledger(db).sums({ customerId: 'acme', meter: 'calls', fromMs: 0, toMs: 1 }),
      'ledger.customerIds': () => new Ledger(db).customerIds(),
      'ledger.finishReplacements': () => new Ledger(db).finishReplacements(AT),
      'doubts.list': () => new Doubts(db).list({ firstAttemptMax: AT, isUndecided: false, limit: 1 }),
      'doubts.ledgerOf': () => new Doubts(db).ledgerOf(HOUR, ROWS),
      'doubts.reading': () => new Doubts(db).reading(HOUR),
      'aggregates.planDue': () =>
        new UsageAggregates(db).planDue({ windowEndMax: AT, meters: ['calls'], batchSize: 10 }).next(),
      'aggregates.sums': () => new UsageAggregates(db).sums(ROWS),
      'aggregates.countPlanDue': () => new UsageAggregates(db).countPlanDue(),
      'periods.countPlanDue': () => new UsagePeriods(db).countPlanDue(),
      'periods.setPlanDue': () => new UsagePeriods(db).setPlanDue(ROWS),
      'aggregates.range': () => new UsageAggregates(db).range(ROWS),
      'journal.backlog': () => new DirtyHours(db).backlog(),
      'reconciliations.listRuns': () => new Reconciliations(db).listRuns({ limit: 1 }),
      'reconciliations.nextRereadAt': () => new Reconciliations(db).nextRereadAt(),
      'rejected events': () => new RejectedEvents(db).count(),
      'raw hours': () => new AggregateChecks(db).rawHours('acme', 0).next(),
      installation: () => installationId(db, AT),
    };
    const outcomes = await Promise.all(
      Object.entries(statements).map(async ([name, run]) => {
        const error: unknown = await run().then(
          () => 'no error',
          (thrown: unknown) => thrown,
        );
        return [name, error instanceof DaemonError ? `${error.kind} ${error.code}` : String(error)] as const;
      }),
    );
    await client.close();
    const others = outcomes.filter(([, outcome]) => outcome !== 'transient store_unavailable');
    expect(others).toEqual([]);
    expect(outcomes.length).toBeGreaterThan(20);
  });
});

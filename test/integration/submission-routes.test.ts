import { describe, expect, it } from 'vitest';
import { type Explanation, renderExplanation } from '../../scripts/lib/explanation.ts';
import { renderExplanationCsv } from '../../scripts/lib/explanation-csv.ts';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';
import { buildApp } from '../../src/platform/http/app.ts';
import { Metrics } from '../../src/platform/http/metrics.ts';
import { JobQueue } from '../../src/platform/queue/job-queue.ts';
import { factRoutes } from '../../src/daemon/serve-facts.ts';
import { submissionRoutes } from '../../src/daemon/submission-jobs.ts';
import { settle } from '../support/drift.ts';
import { type Pipeline, withPipeline } from '../support/pipeline.ts';
import { ingestEvents, meterOf, storeMeters } from '../support/usage.ts';

const KEY = 'an-admin-key-for-tests-only';
const CALLS = meterOf({ key: 'calls', stripe: { eventName: 'calls' } });

interface Answer {
  readonly statusCode: number;
  json(): unknown;
}

/** Lends the routes of submissions over a pipeline in which one was sent; Redis is away, so that nothing is rung. */
async function withRoutes(
  use: (lent: {
    pipeline: Pipeline;
    identifier: string;
    post: (path: string, body: object) => Promise<Answer>;
    get: (url: string) => Promise<Answer>;
    setFields: (fields: object) => Promise<void>;
  }) => Promise<void>,
): Promise<void> {
  await withPipeline({ environment: { HEAL_FRACTION_MAX: '1' } }, async (pipeline) => {
    const { parts, stores } = pipeline;
    const { db } = stores.database;
    await storeMeters(db, [CALLS]);
    await pipeline.run('sync-meters');
    await pipeline.mapCustomer('acme');
    await ingestEvents(db, [{ at: '2026-06-15T08:10:00Z', quantity: '5' }]);
    await pipeline.run('aggregate-usage');
    await pipeline.run('submit-meter-events');
    const identifier = (await stores.submissions.list({ limit: 1 }))[0]?._id ?? '';
    const queue = new JobQueue({ redisUrl: 'redis://127.0.0.1:1', database: db.databaseName }, parts);
    const app = await buildApp({
      log: parts.log,
      auth: { findApiKey: () => Promise.resolve(null), adminApiKey: KEY, clock: parts.clock },
      health: { isDraining: () => false, checks: [] },
      metrics: new Metrics(),
      gauges: [],
      bodyBytesMax: 100_000,
      requestTimeoutMs: 30_000,
      version: '0.0.0',
      routes: [submissionRoutes(parts, queue), ...factRoutes(parts)],
    });
    try {
      await use({
        pipeline,
        identifier,
        post: (path, body) =>
          app.inject({
            method: 'POST',
            url: `/v1/submissions/${path}`,
            headers: { authorization: `Bearer ${KEY}` },
            payload: body,
          }),
        get: (url) => app.inject({ method: 'GET', url, headers: { authorization: `Bearer ${KEY}` } }),
        setFields: async (fields) => {
          await db.collection('meter_submissions').updateMany({}, { $set: fields });
        },
      });
    } finally {
      await app.close();
      await queue.close();
    }
  });
}

function lastChange(answer: Answer): unknown {
  return (answer.json() as { history: unknown[] }).history.at(-1);
}

const WHO = { actor: 'kim', reason: 'looked at the dashboard' };

describe('POST /v1/submissions/{identifier}/decide', () => {
  it('confirms what a person says was counted, once, and keeps who said so', () =>
    withRoutes(async ({ pipeline, identifier, post, setFields }) => {
      expect((await post(`${identifier}/decide`, { ...WHO, counted: true })).statusCode).toBe(409);
      await setFields({ state: 'in_doubt' });
      // It is still being tried.
      expect((await post(`${identifier}/decide`, { ...WHO, counted: true })).json()).toMatchObject({
        code: 'submission_not_decidable',
      });
      pipeline.clock.advance(DAY_MS);
      const decided = await post(`${identifier}/decide`, { ...WHO, counted: true });
      expect(decided.statusCode).toBe(200);
      expect(decided.json()).toMatchObject({ identifier, state: 'confirmed', reason: WHO.reason });
      expect(lastChange(decided)).toMatchObject({ change: 'confirm', ...WHO });
      expect((await post(`${identifier}/decide`, { ...WHO, counted: false })).statusCode).toBe(409);
    }));

  it('replaces what a person says was not counted', () =>
    withRoutes(async ({ pipeline, identifier, post, setFields }) => {
      await setFields({ state: 'in_doubt', reason: 'undecided' });
      const decided = await post(`${identifier}/decide`, { ...WHO, counted: false });
      expect(decided.json()).toMatchObject({ state: 'replaced', replacedBy: `${identifier}~1` });
      expect((await pipeline.stores.submissions.find(`${identifier}~1`))?.state).toBe('planned');
    }));

  it('refuses an unknown identifier, and a decision without a name or a reason', () =>
    withRoutes(async ({ identifier, post }) => {
      expect((await post('nothing/decide', { ...WHO, counted: true })).json()).toMatchObject({
        status: 404,
        code: 'submission_not_found',
      });
      for (const body of [{ ...WHO }, { counted: true, actor: 'kim' }, { counted: true, ...WHO, actor: '' }]) {
        expect((await post(`${identifier}/decide`, body)).json()).toMatchObject({ code: 'request_invalid' });
      }
    }));
});

describe('POST /v1/submissions/{identifier}/resend', () => {
  it('sends a rejected submission again under a new identifier, once, and keeps who wanted it', () =>
    withRoutes(async ({ identifier, post, setFields }) => {
      expect((await post(`${identifier}/resend`, WHO)).json()).toMatchObject({
        status: 409,
        code: 'submission_not_rejected',
      });
      await setFields({ state: 'rejected', reason: 'payload_invalid_value' });
      const sent = await post(`${identifier}/resend`, WHO);
      expect(sent.json()).toMatchObject({ state: 'replaced', replacedBy: `${identifier}~1` });
      expect(lastChange(sent)).toMatchObject({ change: 'replace', ...WHO });
      expect((await post(`${identifier}/resend`, WHO)).statusCode).toBe(409);
      expect((await post('nothing/resend', WHO)).statusCode).toBe(404);
    }));
});

describe('an hour that is explained without a range', () => {
  it('comes with the billing period that it lies in, though that is over', () =>
    withRoutes(async ({ pipeline, get }) => {
      pipeline.clock.advance(40 * DAY_MS);
      const explained = (await get('/v1/customers/acme/explain?meter=calls&hour=2026-06-15T08:30:00Z')).json();
      expect(explained).toMatchObject({
        from: '2026-06-01T00:00:00.000Z',
        to: '2026-07-01T00:00:00.000Z',
        facts: { from: '2026-06-15T08:00:00.000Z', quantity: '5', data: [{ value: '5' }] },
      });
      const other = await get('/v1/customers/acme/explain?meter=calls&period=current&hour=2026-06-15T08:30:00Z');
      expect([other.statusCode, other.json()]).toEqual([
        422,
        expect.objectContaining({
          code: 'range_invalid',
          detail: expect.stringContaining('period, which can be previous'),
        }),
      ]);
    }));
});

describe('a submission that was replaced and counted all the same', () => {
  interface Shown {
    readonly identifier: string;
    readonly cancellation?: object;
    readonly offsetBy?: string;
  }
  const RANGE = 'from=2026-06-15T08:00:00Z&to=2026-06-15T09:00:00Z';

  /** What the list, the one submission and the explanation say of it. */
  async function shown(identifier: string, get: (url: string) => Promise<Answer>): Promise<(Shown | undefined)[]> {
    const isIt = (other: Shown): boolean => other.identifier === identifier;
    const list = (await get('/v1/submissions')).json() as { data: Shown[] };
    const explained = await explain(get);
    const one = (await get(`/v1/submissions/${identifier}`)).json() as Shown;
    return [list.data.find(isIt), one, (explained.submissions as readonly Shown[]).find(isIt)];
  }

  async function explain(get: (url: string) => Promise<Answer>): Promise<Explanation> {
    return (await get(`/v1/customers/acme/explain?meter=calls&${RANGE}`)).json() as Explanation;
  }

  /** Replaces it, sends its successor, and lets reconciliation find the surplus. */
  async function countTwice(pipeline: Pipeline, identifier: string, lagMs?: number): Promise<void> {
    await pipeline.stores.ledger.replace(identifier, { reason: 'test', at: new Date(pipeline.clock.now()) });
    await settle(pipeline, lagMs === undefined ? {} : { lagMs });
  }

  it('is shown with its cancellation, from the call on', () =>
    withRoutes(async ({ pipeline, identifier, get }) => {
      await countTwice(pipeline, identifier);
      for (const one of await shown(identifier, get)) expect(one).not.toHaveProperty('cancellation');
      pipeline.simulator.failNext('resetBefore', { route: 'POST /v1/billing/meter_event_adjustments', times: 2 });
      await pipeline.run('reconcile-usage');
      pipeline.simulator.clearFaults();
      const at = new Date(pipeline.clock.now()).toISOString();
      const calling = { idempotencyKey: `${identifier}.c1`, state: 'calling', at, attempts: 1 };
      for (const one of await shown(identifier, get)) expect(one?.cancellation).toEqual(calling);
      expect(renderExplanation(await explain(get), { all: true, facts: false })).toContain(', being cancelled');
      pipeline.clock.advance(2 * MINUTE_MS);
      await pipeline.run('reconcile-usage');
      const done = { state: 'done', attempts: 2, idempotencyKey: `${identifier}.c2` };
      for (const one of await shown(identifier, get)) expect(one?.cancellation).toMatchObject(done);
      expect(renderExplanation(await explain(get), { all: true, facts: false })).toContain(', cancelled');
      expect(renderExplanationCsv([await explain(get)], { byDay: false })).toContain(`,done,${at.slice(0, 13)}`);
    }));

  it('is shown with the negative delta that takes it back, where it is too late to cancel it', () =>
    withRoutes(async ({ pipeline, identifier, get }) => {
      await countTwice(pipeline, identifier, 25 * HOUR_MS);
      await pipeline.run('reconcile-usage');
      const heal = (await pipeline.stores.submissions.list({ limit: 10 })).find(({ subject }) => subject === 'heal');
      expect(heal?.value.toString()).toBe('-5');
      for (const one of await shown(identifier, get)) {
        expect(one).toMatchObject({ offsetBy: heal?._id });
        expect(one).not.toHaveProperty('cancellation');
        expect(one).not.toHaveProperty('offset');
      }
      expect(renderExplanation(await explain(get), { all: true, facts: false })).toContain(', taken back');
    }));
});

import { describe, expect, it } from 'vitest';
import { JOB_NAMES } from '../../src/daemon/job-input.ts';
import type { Problem } from '../../src/platform/http/problem.ts';
import { registerRuns } from '../../src/daemon/runs-routes.ts';
import { ADMIN_KEY, withEventsApp } from '../support/http-app.ts';
import { withPipeline } from '../support/pipeline.ts';

type Ask = (body: unknown) => Promise<{ status: number; problem: Problem }>;

async function withRuns(use: (ask: Ask, requested: object[], openApi: () => Promise<unknown>) => Promise<void>) {
  const requested: object[] = [];
  const deps = {
    requestRun: (job: string, input: object) => {
      requested.push({ job, input });
      return Promise.resolve('run-1');
    },
    findRun: () => Promise.resolve(null),
    findRunAtWork: () => Promise.resolve(null),
  };
  await withEventsApp({ routes: [(app) => registerRuns(app, deps)] }, async ({ app }) => {
    const headers = { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': 'application/json' };
    const ask: Ask = async (body) => {
      const answer = await app.inject({ method: 'POST', url: '/v1/runs', headers, payload: JSON.stringify(body) });
      return { status: answer.statusCode, problem: answer.json() };
    };
    await use(ask, requested, async () => (await app.inject({ url: '/openapi.json' })).json<unknown>());
  });
}

describe('POST /v1/runs', () => {
  it('answers 202 only to what the job takes, and stores nothing of what it does not', async () => {
    await withRuns(async (ask, requested) => {
      const taken = { job: 'reconcile-usage', input: { dryRun: true, customerId: 'acme' } };
      expect((await ask(taken)).status).toBe(202);
      expect((await ask({ job: 'requeue-usage' })).status).toBe(202);
      expect(requested).toEqual([taken, { job: 'requeue-usage', input: {} }]);
      const refused: [body: unknown, status: number, code: string, pointer: string][] = [
        [{ job: 'reconcile-usage', input: { dryrun: true } }, 422, 'input_invalid', '/input/dryrun'],
        [{ job: 'reconcile-usage', input: { customerId: 5 } }, 422, 'input_invalid', '/input/customerId'],
        [{ job: 'requeue-usage', input: { dryRun: true } }, 422, 'input_invalid', '/input/dryRun'],
        [{ job: 'reconcile-usage', input: null }, 422, 'input_invalid', '/input'],
        [{ job: 'reconcile-usage', input: [] }, 422, 'input_invalid', '/input'],
        [{ job: 'reconcile' }, 422, 'job_unknown', '/job'],
        [{ job: 'reconcile-usage', dryRun: true }, 400, 'request_invalid', '/dryRun'],
        [{ jobs: 'reconcile-usage' }, 400, 'request_invalid', '/job'],
        [{ job: 5 }, 400, 'request_invalid', '/job'],
        [[], 400, 'request_invalid', ''],
        [null, 400, 'request_invalid', ''],
      ];
      for (const [body, status, code, pointer] of refused) {
        const { problem } = await ask(body);
        expect(problem, JSON.stringify(body)).toMatchObject({ status, code });
        expect(
          problem.errors?.map((error) => error.pointer),
          JSON.stringify(body),
        ).toContain(pointer);
      }
      expect(requested).toHaveLength(2);
    });
  });

  it('is described job by job in the OpenAPI document', async () => {
    await withRuns(async (_ask, _requested, openApi) => {
      const text = JSON.stringify(await openApi());
      for (const job of JOB_NAMES) expect(text).toContain(`"${job}"`);
      expect(text).toContain('true shows what would be done and changes nothing.');
    });
  });
});

describe('a stored run', () => {
  it('fails when its input is not one that its job takes, instead of doing something else', async () => {
    await withPipeline({}, async (pipeline) => {
      await expect(pipeline.run('reconcile-usage', { dryrun: true })).rejects.toMatchObject({ code: 'input_invalid' });
      expect(await pipeline.run('reconcile-usage', { apply: false })).toMatchObject({ mode: 'report' });
      expect(await pipeline.run('reconcile-usage', { dryRun: true })).toMatchObject({ mode: 'report' });
    });
  });
});

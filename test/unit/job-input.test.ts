import { describe, expect, it } from 'vitest';
import { ApiError } from '../../scripts/lib/api-client.ts';
import { JOB_INPUTS, JOB_NAMES, readJobInput, readJobName } from '../../src/daemon/job-input.ts';
import { nearestName } from '../../src/platform/nearest-name.ts';
import type { DaemonError } from '../../src/platform/errors.ts';

function refusalOf(work: () => unknown): DaemonError | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return error as DaemonError;
  }
}

describe('the input of a job', () => {
  it.each(JOB_NAMES)('of %s is closed: nothing that is not listed is taken', (job) => {
    expect(JOB_INPUTS[job]).toMatchObject({ type: 'object', additionalProperties: false });
    expect(readJobInput(job, job === 'verify-usage' ? { period: '2026-11' } : {})).toBeDefined();
    const refusal = refusalOf(() => readJobInput(job, { period: '2026-11', frm: 'x' }));
    expect(refusal).toMatchObject({ kind: 'invalid', code: 'input_invalid' });
    for (const input of [null, [], 'x', 5])
      expect(
        refusalOf(() => readJobInput(job, input)),
        job,
      ).toBeDefined();
  });

  it.each<[job: (typeof JOB_NAMES)[number], input: object, pointer: string, detail: RegExp]>([
    ['reconcile-usage', { dryrun: true }, '/input/dryrun', /Did you mean "dryRun"\? Known are from, to, customerId/],
    ['reconcile-usage', { dry_run: true }, '/input/dry_run', /Did you mean "dryRun"\?/],
    ['reconcile-usage', { dryRun: 'true' }, '/input/dryRun', /must be boolean/],
    ['reconcile-usage', { customerId: 5 }, '/input/customerId', /must be string/],
    ['reconcile-usage', { customer: 'acme' }, '/input/customer', /Did you mean "customerId"\?/],
    ['reconcile-usage', { from: 'yesterday' }, '/input/from', /RFC 3339/],
    ['reconcile-usage', { from: '2026-11-02', to: '2026-11-02' }, '/input/to', /after from/],
    ['reconcile-usage', { dryRun: true, apply: true }, '/input/apply', /contradicts dryRun/],
    ['submit-meter-events', { flush: 1 }, '/input/flush', /must be boolean/],
    ['requeue-usage', { dryRun: true }, '/input/dryRun', /Nothing is taken here/],
    ['verify-usage', {}, '/input/period', /is required/],
    ['verify-usage', { period: '2026-13' }, '/input/period', /a month like 2026-11/],
    ['verify-usage', { period: '2026-11', from: '2026-11-01' }, '/input/period', /excludes/],
    ['verify-usage', { from: '2026-11-01' }, '/input/period', /is required/],
  ])('of %s as %o is refused at %s', (job, input, pointer, detail) => {
    const errors = refusalOf(() => readJobInput(job, input))?.context['errors'] as {
      pointer: string;
      detail: string;
    }[];
    expect(errors).toHaveLength(1);
    expect(errors[0]?.pointer).toBe(pointer);
    expect(errors[0]?.detail).toMatch(detail);
  });

  it('may name a day or an instant, and the older name of a dry run', () => {
    expect(readJobInput('reconcile-usage', { from: '2026-11-01', to: '2026-11-02T00:00:00+01:00' })).toBeDefined();
    expect(readJobInput('reconcile-usage', { apply: false })).toEqual({ apply: false });
    expect(readJobInput('reconcile-usage', { apply: false, dryRun: true })).toBeDefined();
    expect(readJobInput('verify-usage', { from: '2026-11-01', to: '2026-11-02' })).toBeDefined();
  });

  it('belongs to a job that exists, and a misspelt one is told with the nearest', () => {
    expect(readJobName('reconcile-usage')).toBe('reconcile-usage');
    const refusal = refusalOf(() => readJobName('reconcile'));
    expect(refusal?.code).toBe('job_unknown');
    expect(refusal?.message).toMatch(/Did you mean "reconcile-usage"\? There are aggregate-usage, /);
    expect(refusalOf(() => readJobName('toString'))?.code).toBe('job_unknown');
  });
});

describe('a refusal, on the command line', () => {
  it('says what is wrong once', () => {
    const detail = '"dryrun" is not known here. Did you mean "dryRun"?';
    const problem = {
      code: 'input_invalid',
      detail: `The job does not take this: ${detail}`,
      errors: [{ pointer: '/input/dryrun', detail }],
    };
    const { why = '' } = new ApiError('it was refused', { status: 422, body: problem, retryAfterMs: undefined });
    expect(why.split('Did you mean')).toHaveLength(2);
    const general = { ...problem, detail: 'The request does not match the schema of this route.' };
    const told = new ApiError('it was refused', { status: 400, body: general, retryAfterMs: undefined });
    expect(told.why?.split('Did you mean')).toHaveLength(2);
  });
});

describe('the nearest name', () => {
  it.each([
    ['quantty', 'quantity'],
    ['customer_id', 'customerId'],
    ['custmoerId', 'customerId'],
    ['Quantity', 'quantity'],
    ['timestamp', undefined],
    ['x', undefined],
    ['quantity', undefined],
    ['q'.repeat(70), undefined],
  ])('of %s is %s', (given, meant) => {
    expect(nearestName(given, ['quantity', 'customerId', 'occurredAt'])).toBe(meant);
  });
});

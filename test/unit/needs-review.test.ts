import { describe, expect, it } from 'vitest';
import { findFailingJobs, findOverdueJobs } from '../../src/daemon/late-jobs.ts';
import { type ReviewFact, toReviewItem } from '../../src/daemon/needs-review.ts';
import { findStillBell } from '../../src/daemon/standstill.ts';

const HOUR_MS = 3_600_000;

describe('what waits for a human', () => {
  it('is told in words with the command that helps', () => {
    const fact: ReviewFact = {
      kind: 'submissions_blocked',
      count: 2,
      reason: 'customer_not_mapped',
      examples: ['acme'],
    };
    const { area, what, todo } = toReviewItem(fact);
    expect([area, what]).toEqual(['submissions', '2 submissions are blocked: customer_not_mapped (acme)']);
    expect(todo).toContain('tallystick customers put');
  });

  it('names no more examples than it says, and that there are more', () => {
    const examples = ['a', 'b', 'c', 'd', 'e', 'f'];
    const { what } = toReviewItem({ kind: 'submissions_blocked', count: 9, reason: 'meter_missing', examples });
    expect(what).toMatch(/\(a, b, c, d, e, …\)$/);
  });
});

describe('a job', () => {
  const run = (state: string, job = 'aggregate-usage') => ({
    job,
    state,
    ...(state === 'failed' && { error: { code: 'store_failed', message: 'no' } }),
  });

  it('is failing after three failures in a row that no success ended', () => {
    expect(findFailingJobs([run('failed'), run('running'), run('failed'), run('failed'), run('succeeded')])).toEqual([
      { kind: 'job_failing', count: 3, reason: 'store_failed: no', examples: ['aggregate-usage'] },
    ]);
  });

  it('is not failing after a success, after two failures, or because of another job', () => {
    expect(findFailingJobs([run('succeeded'), run('failed'), run('failed'), run('failed')])).toEqual([]);
    expect(findFailingJobs([run('failed'), run('failed'), run('failed', 'verify-usage')])).toEqual([]);
  });

  it('is overdue when neither it nor the installation is younger than its limit', () => {
    const ask = (lastSuccessMs: number | undefined, beganMs: number) =>
      findOverdueJobs({
        lastSuccessMs: new Map(lastSuccessMs === undefined ? [] : [['aggregate-usage', lastSuccessMs]]),
        beganMs,
        nowMs: 10 * HOUR_MS,
        limits: { 'aggregate-usage': 3 * HOUR_MS },
      });
    expect(ask(7 * HOUR_MS, 0)).toEqual([]);
    expect(ask(7 * HOUR_MS - 1, 0)).toEqual([
      { kind: 'job_overdue', count: 1, sinceMs: 7 * HOUR_MS - 1, examples: ['aggregate-usage'] },
    ]);
    expect(ask(undefined, 8 * HOUR_MS)).toEqual([]);
    expect(ask(undefined, 0)).toHaveLength(1);
  });
});

describe('jobs that do not get from the tick to a worker', () => {
  const nowMs = Date.parse('2026-11-21T09:00:00Z');
  const minutesAgo = (minutes: number): number => nowMs - minutes * 60_000;
  const kindsOf = (input: Partial<Parameters<typeof findStillBell>[0]>): string[] =>
    findStillBell({ nowMs, queuedRuns: { count: 0 }, ...input }).map(({ kind }) => kind);

  it('are no finding while heartbeats come, or before the first', () => {
    expect(kindsOf({})).toEqual([]);
    const queuedRuns = { count: 2, oldestMs: minutesAgo(5) };
    expect(kindsOf({ workedAtMs: minutesAgo(1), sweptAtMs: minutesAgo(2), queuedRuns })).toEqual([]);
  });

  it('are found by the heartbeat, the sweep and the runs that wait, each apart', () => {
    expect(kindsOf({ workedAtMs: minutesAgo(4), sweptAtMs: minutesAgo(1) })).toEqual(['no_job_taken']);
    expect(kindsOf({ workedAtMs: minutesAgo(1), sweptAtMs: minutesAgo(4) })).toEqual(['no_sweep']);
    expect(kindsOf({ queuedRuns: { count: 2, oldestMs: minutesAgo(16) } })).toEqual(['runs_not_begun']);
  });
});

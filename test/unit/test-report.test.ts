import { describe, expect, it } from 'vitest';
import { countTests, sumCounts } from '../../scripts/lib/test-report.ts';

const file = (status: string, ...tests: string[]): Parameters<typeof countTests>[0] => ({
  testResults: [{ status, assertionResults: tests.map((result) => ({ status: result })) }],
});

describe('the count of a test run', () => {
  it('is the number of tests that passed when all did', () => {
    expect(countTests(file('passed', 'passed', 'passed'))).toEqual({ passed: 2, failed: 0, notRun: 0 });
  });

  it('counts a test that did not run as failed, whatever the runner calls it', () => {
    const report = file('passed', 'passed', 'skipped', 'todo', 'pending', 'disabled');
    expect(countTests(report)).toEqual({ passed: 1, failed: 4, notRun: 4 });
  });

  it('counts a file that failed outside its tests once, and one with failed tests by these', () => {
    expect(countTests(file('failed'))).toEqual({ passed: 0, failed: 1, notRun: 0 });
    expect(countTests(file('failed', 'passed', 'passed'))).toEqual({ passed: 2, failed: 1, notRun: 0 });
    expect(countTests(file('failed', 'failed', 'failed', 'passed'))).toEqual({ passed: 1, failed: 2, notRun: 0 });
  });

  it('of two runs fails when one of them left no report', () => {
    const counts = [countTests(file('passed', 'passed', 'skipped')), countTests(undefined)];
    expect(sumCounts(counts)).toEqual({ passed: 1, failed: 2, notRun: 1 });
  });

  it('is a failure when there is no report or no test', () => {
    expect(countTests(undefined)).toEqual({ passed: 0, failed: 1, notRun: 0 });
    expect(countTests({ testResults: [] })).toEqual({ passed: 0, failed: 1, notRun: 0 });
  });
});

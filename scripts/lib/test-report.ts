/** Counts a run from the test runner's JSON report. */

/** The part of the report that is counted. */
export interface TestReport {
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

export interface TestCount {
  readonly passed: number;
  /** Tests that did not pass for whatever reason, and files that failed outside a test. */
  readonly failed: number;
  /** How many of `failed` never ran: skipped, postponed or left out. */
  readonly notRun: number;
}

/** A run without any test counts as one failure, and so does an absent report. */
export function countTests(report: TestReport | undefined): TestCount {
  const files = report?.testResults ?? [];
  const statuses = files.flatMap((file) => file.assertionResults.map((test) => test.status));
  const passed = statuses.filter((status) => status === 'passed').length;
  const failedInTests = statuses.filter((status) => status === 'failed').length;
  const brokenFiles = files.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  ).length;
  const notRun = statuses.length - passed - failedInTests;
  const failed = failedInTests + brokenFiles + notRun;
  return { passed, failed: passed + failed === 0 ? 1 : failed, notRun };
}

/** Several runs as one. */
export function sumCounts(counts: readonly TestCount[]): TestCount {
  return counts.reduce((sum, { passed, failed, notRun }) => ({
    passed: sum.passed + passed,
    failed: sum.failed + failed,
    notRun: sum.notRun + notRun,
  }));
}

/** Prints the last line of scripts/test from the runner's reports, whose paths are the arguments. Exit code 1 unless all passed. */
import { existsSync, readFileSync } from 'node:fs';
import { countTests, sumCounts, type TestReport } from './lib/test-report.ts';

const paths = process.argv.length > 2 ? process.argv.slice(2) : [''];
const counts = paths.map((path) => {
  const report = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as TestReport) : undefined;
  if (report === undefined) process.stdout.write(`the tests left no report ${path}\n`);
  return countTests(report);
});
const { passed, failed, notRun } = sumCounts(counts);
if (notRun > 0) process.stdout.write(`${notRun} tests did not run: each counts as failed\n`);
process.stdout.write(`tests: ${passed} passed, ${failed} failed\n`);
if (failed > 0) process.exitCode = 1;

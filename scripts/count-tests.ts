/** Prints the last line of scripts/test from the runner's report, whose path is the only argument. Exit code 1 unless all passed. */
import { existsSync, readFileSync } from 'node:fs';
import { countTests, type TestReport } from './lib/test-report.ts';

const path = process.argv[2] ?? '';
const report = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as TestReport) : undefined;
const { passed, failed, notRun } = countTests(report);
if (report === undefined) process.stdout.write('the tests left no report\n');
if (notRun > 0) process.stdout.write(`${notRun} tests did not run: each counts as failed\n`);
process.stdout.write(`tests: ${passed} passed, ${failed} failed\n`);
if (failed > 0) process.exitCode = 1;

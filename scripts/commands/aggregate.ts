import type { Command } from 'commander';
import { createJobVerb, listCounts } from '../lib/job-verb.ts';

export function aggregateCommand(): Command {
  return createJobVerb({
    name: 'aggregate',
    summary: 'Derive every customer-hour that waits, now.',
    examples: ['tallystick aggregate', 'tallystick aggregate --dry-run --json'],
    job: 'aggregate-usage',
    describe: listCounts,
  });
}

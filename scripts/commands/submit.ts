import type { Command } from 'commander';
import { createJobVerb, listCounts } from '../lib/job-verb.ts';

export function submitCommand(): Command {
  return createJobVerb({
    name: 'submit',
    summary: 'Plan what is due and send it to Stripe, now.',
    examples: ['tallystick submit --dry-run', 'tallystick submit'],
    job: 'submit-meter-events',
    describe: listCounts,
  });
}

import type { Command } from 'commander';
import type { WaitingUsage } from '../../src/daemon/waiting-usage.ts';
import type { SubmittingPauses } from '../../src/submissions/sending/submitting-pause-store.ts';
import { usageError } from '../lib/command-error.ts';
import type { ExitCode } from '../lib/exit-codes.ts';
import { followJob } from '../lib/follow-run.ts';
import { describeAhead, listCounts } from '../lib/job-verb.ts';
import { withLedger } from '../lib/ledger.ts';
import { createApiVerb, runVerb, type VerbContext } from '../lib/verb.ts';
import { renderWaiting } from '../lib/waiting-text.ts';
import { decideCommand, resendCommand } from './submit-settle.ts';

interface SubmitOptions {
  readonly dryRun?: boolean;
  readonly pause?: boolean;
  readonly resume?: boolean;
  readonly reason?: string;
}

export function submitCommand(): Command {
  return createApiVerb({
    name: 'submit',
    summary:
      'Plan what is due and send it to Stripe, now. --pause and --resume work on the database that the environment ' +
      'names, also before a daemon is started on it.',
    examples: [
      'tallystick submit --dry-run',
      'tallystick submit',
      'tallystick submit --pause --reason "restored from the backup of Monday"',
    ],
  })
    .option('--dry-run', 'show what would be done and change nothing')
    .option('--pause', 'send nothing to Stripe, and heal nothing, until --resume; a run under way goes on to its end')
    .option('--resume', 'end the pause; sending goes on within a minute')
    .option('--reason <text>', 'why it is paused; shown by status and doctor')
    .action(async (options: SubmitOptions, command: Command) => {
      await runVerb(command, (context) => chooseAction(options)(options, context));
    })
    .enablePositionalOptions()
    .addCommand(decideCommand())
    .addCommand(resendCommand());
}

type Action = (options: SubmitOptions, context: VerbContext) => Promise<ExitCode | void>;

function chooseAction({ pause, resume, reason }: SubmitOptions): Action {
  if (pause === true && resume === true) throw usageError('--pause and --resume were given', 'Give one of them.');
  if (reason !== undefined && pause !== true) throw usageError('--reason was given without --pause', 'Give both.');
  if (pause === true) return pauseSubmitting;
  return resume === true ? resumeSubmitting : submitNow;
}

async function submitNow({ dryRun }: SubmitOptions, { api, output }: VerbContext): Promise<void> {
  const input = dryRun === true ? { dryRun: true } : {};
  const run = await followJob({ api: api(), output }, { job: 'submit-meter-events', input });
  const { result } = run;
  const ahead = await run.ahead();
  output.result({ ...result, ...(ahead && { ahead }) }, () => {
    if (result['paused'] === true) {
      return `nothing: submitting is paused since ${String(result['pausedAt'])} (\`tallystick submit --resume\` ends that)`;
    }
    if (dryRun === true) return `would do: ${listCounts(result)}`;
    const waiting = result['waiting'] as WaitingUsage | undefined;
    const own = waiting === undefined ? listCounts(result) : renderWaiting(waiting, Date.now());
    return [...(ahead === undefined ? [] : [describeAhead(ahead)]), own].join('\n');
  });
}

async function pauseSubmitting({ dryRun, reason }: SubmitOptions, { output }: VerbContext): Promise<void> {
  await withPauses(async (pauses) => {
    const before = await pauses.find();
    if (before !== undefined) {
      output.result({ paused: true, ...before }, () => `paused already, since ${before.pausedAt.toISOString()}`);
      return;
    }
    if (dryRun === true) {
      output.result({ dryRun: true, paused: false }, () => 'would pause submitting');
      return;
    }
    const pause = await pauses.pause(reason, new Date());
    output.result({ paused: true, ...pause }, () => 'submitting is paused; usage is taken and counted as before');
  });
}

async function resumeSubmitting({ dryRun }: SubmitOptions, { output }: VerbContext): Promise<void> {
  await withPauses(async (pauses) => {
    const wasPaused = dryRun === true ? (await pauses.find()) !== undefined : await pauses.resume();
    output.result({ ...(dryRun === true && { dryRun }), wasPaused, paused: dryRun === true && wasPaused }, () => {
      if (!wasPaused) return 'submitting was not paused';
      return dryRun === true ? 'would end the pause' : 'the pause is over; sending goes on within a minute';
    });
  });
}

/** Lends the pause of the ledger that the environment names. */
async function withPauses<T>(work: (pauses: SubmittingPauses) => Promise<T>): Promise<T> {
  const { SubmittingPauses } = await import('../../src/submissions/sending/submitting-pause-store.ts');
  return withLedger((db) => work(new SubmittingPauses(db)));
}

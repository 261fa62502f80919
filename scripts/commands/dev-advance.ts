import type { Command } from 'commander';
import { ApiClient } from '../lib/api-client.ts';
import { CommandError } from '../lib/command-error.ts';
import type { AdvancedTime } from '../lib/dev/advance-time.ts';
import type { BilledUsage } from '../lib/dev/billed-usage.ts';
import { requireRunningDev, type RunningDev } from '../lib/dev/running-dev.ts';
import { instantAfter } from '../lib/dev/span.ts';
import { EXIT, type ExitCode } from '../lib/exit-codes.ts';
import { SimulatorClient } from '../lib/simulator-client.ts';
import { renderTable } from '../lib/table.ts';
import { createVerb, runVerb, type VerbContext } from '../lib/verb.ts';

/** `tallystick dev advance`: the end of a billing period, for who does not want to wait for it. */
export function advanceCommand(): Command {
  return createVerb({
    name: 'advance <span>',
    summary:
      'Let time pass for the daemon and the double of a running `tallystick dev` together: both clocks move, with a stop wherever something is due, at which the daemon does what its schedules would have done. Goes on until invoices drafted on the way are final, and shows what they bill beside what was used. Exit code 5 when the two differ.',
    examples: ['tallystick dev advance 1mo', 'tallystick dev advance 6h --json'],
  })
    .option('--dry-run', 'say to which instant the clocks would move, and move nothing')
    .action(async (span: string, _options: object, command: Command) => {
      const { dryRun } = command.optsWithGlobals<{ dryRun?: boolean }>();
      await runVerb(command, (context) => runAdvance({ span, isDryRun: dryRun === true }, context));
    });
}

async function runAdvance(
  { span, isDryRun }: { span: string; isDryRun: boolean },
  { output, signal }: VerbContext,
): Promise<ExitCode> {
  const dev = await requireRunningDev();
  const simulator = new SimulatorClient(dev.simulatorUrl, signal);
  const { nowMs } = await simulator.get<{ nowMs: number }>('/_sim/clock');
  const toMs = instantAfter(nowMs, span);
  if (isDryRun) {
    const [from, to] = [new Date(nowMs).toISOString(), new Date(toMs).toISOString()];
    output.result({ dryRun: true, from, to }, () => `would move the clocks from ${from} to ${to}`);
    return EXIT.ok;
  }
  const api = new ApiClient({ url: dev.url, apiKey: dev.environment['TALLYSTICK_API_KEY'] ?? '', signal });
  const { advanceTime } = await import('../lib/dev/advance-time.ts');
  const { readBilledUsage } = await import('../lib/dev/billed-usage.ts');
  const moveBy = (advanceMs: number): Promise<void> => moveClocks(dev, advanceMs, signal);
  const advanced = await advanceTime(
    { api, simulator, moveBy, say: (line) => output.note(output.paint.faint(line)) },
    { fromMs: nowMs, toMs },
  );
  const billed = await readBilledUsage(api, dev.simulatorUrl, nowMs);
  output.result({ ...advanced, lines: billed }, () => render(advanced, billed));
  return billed.every(({ isEqual }) => isEqual) ? EXIT.ok : EXIT.driftFound;
}

async function moveClocks(dev: Required<RunningDev>, advanceMs: number, signal: AbortSignal): Promise<void> {
  const response = await fetch(`${dev.controlUrl}/clock`, {
    method: 'POST',
    headers: { authorization: `Bearer ${dev.environment['TALLYSTICK_API_KEY'] ?? ''}` },
    body: JSON.stringify({ advanceMs }),
    signal,
  });
  if (response.ok) return;
  const { error } = (await response.json()) as { error?: string };
  throw new CommandError({ what: 'the clocks could not be moved', why: error ?? `the answer was ${response.status}` });
}

function render({ from, to, held }: AdvancedTime, billed: readonly BilledUsage[]): string {
  const head = `It is ${to} now; it was ${from}.`;
  const holds = held.map((id) => `Invoice ${id} is held back: \`tallystick reconcile guards\` says why.`);
  if (billed.length === 0) return [head, ...holds, 'No invoice over usage became final.'].join('\n');
  const columns = ['invoice', 'status', 'customer', 'meter', 'from', 'to'].map((heading) => ({ heading }));
  const figures = ['billed', 'used', 'amount'].map((heading) => ({ heading, align: 'right' as const }));
  const rows = billed.map((line) => [
    line.invoice,
    line.status,
    line.customerId,
    line.meter,
    line.from.slice(0, 16),
    line.to.slice(0, 16),
    line.billed,
    line.used,
    line.amount,
  ]);
  return [head, ...holds, '', renderTable([...columns, ...figures], rows)].join('\n');
}

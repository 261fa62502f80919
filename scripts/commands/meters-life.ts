import type { Command } from 'commander';
import type { ApiClient } from '../lib/api-client.ts';
import { left, right } from '../lib/fitted-table.ts';
import { readJsonArgument } from '../lib/json-argument.ts';
import { renderTable } from '../lib/table.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

interface ArchivedMeter {
  readonly key: string;
  readonly archivedFrom?: string;
}

interface Preview {
  readonly from: string;
  readonly to: string;
  readonly customers: readonly {
    readonly customerId: string;
    readonly quantity: string;
    readonly eventCount: number;
    readonly uncountable: number;
  }[];
  readonly hasMore: boolean;
}

interface ArchiveOptions {
  readonly from?: string;
  readonly undo?: boolean;
  readonly dryRun?: boolean;
}

/** `meters archive`: counts and sends no more, from an instant on. */
export function archiveCommand(): Command {
  const command = createApiVerb({
    name: 'archive <key>',
    summary:
      'Count and send no more from an instant on; what was counted stays, and is still sent and reconciled. --undo lets ' +
      'it count again, also what came meanwhile.',
    examples: ['tallystick meters archive api_calls --dry-run', 'tallystick meters archive api_calls --undo'],
  });
  return command
    .option('--from <instant>', 'a whole UTC hour at least ten minutes ahead; default: the next one there is')
    .option('--undo', 'let it count again')
    .option('--dry-run', 'show from when on, and change nothing')
    .action(async (key: string, options: ArchiveOptions) => {
      await runVerb(command, async ({ api, output }) => {
        const meter = await archive(api(), key, options);
        const when = meter.archivedFrom;
        const would = options.dryRun === true ? 'would count' : 'counts';
        output.result({ dryRun: options.dryRun === true, ...meter }, () =>
          when === undefined || options.undo === true
            ? `${key} ${would} on`
            : `${key} ${would} nothing from ${when} on`,
        );
      });
    });
}

function archive(api: ApiClient, key: string, { from, undo, dryRun }: ArchiveOptions): Promise<ArchivedMeter> {
  const path = `/v1/meters/${encodeURIComponent(key)}`;
  if (undo === true && dryRun === true) return api.get<ArchivedMeter>(path);
  if (undo === true) return api.call<ArchivedMeter>({ method: 'PUT', path, body: { archivedFrom: null } });
  const body = { ...(from !== undefined && { from }), ...(dryRun === true && { dryRun }) };
  return api.call<ArchivedMeter>({ method: 'POST', path: `${path}/archive`, body });
}

/** `meters preview`: what a definition would have counted of past events. */
export function previewCommand(): Command {
  const command = createApiVerb({
    name: 'preview <json>',
    summary: 'What a definition would have counted of past events, without storing anything; JSON as text, @file or -.',
    examples: [
      'tallystick meters preview \'{"eventType":"api_call","aggregation":"sum"}\' --from 2026-11-01T00:00:00Z --to 2026-11-08T00:00:00Z',
    ],
  });
  return command
    .requiredOption('--from <instant>', 'from this whole UTC hour on')
    .requiredOption('--to <instant>', 'before this whole UTC hour; at most 35 days later')
    .option('--customer <id>', 'of one customer')
    .action(async (json: string, options: { from: string; to: string; customer?: string }) => {
      await runVerb(command, async ({ api, output }) => {
        const definition = await readJsonArgument(json);
        const { from, to, customer } = options;
        const body = { definition, from, to, ...(customer !== undefined && { customerId: customer }) };
        const preview = await api().call<Preview>({ method: 'POST', path: '/v1/meters/preview', body });
        output.result(preview, () => renderPreview(preview));
      });
    });
}

function renderPreview({ from, to, customers, hasMore }: Preview): string {
  const table = renderTable(
    [left('customer'), right('quantity'), right('events'), right('uncountable')],
    customers.map(({ customerId, quantity, eventCount, uncountable }) => {
      return [customerId, quantity, String(eventCount), String(uncountable)];
    }),
  );
  return `from ${from} to ${to}, as one billing period\n\n${table}${hasMore ? '\n… and more customers (--customer)' : ''}`;
}

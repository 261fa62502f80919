import { Command } from 'commander';
import { CommandError } from '../lib/command-error.ts';
import { followJob } from '../lib/follow-run.ts';
import { foreseePut, renderChange } from '../lib/change-text.ts';
import { readJsonArgument } from '../lib/json-argument.ts';
import { takeRows } from '../lib/list-option.ts';
import { renderTable } from '../lib/table.ts';
import { archiveCommand, previewCommand } from './meters-life.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

interface MeterReply {
  readonly key: string;
  readonly eventType: string;
  readonly aggregation: string;
  readonly valueFrom: string;
  readonly uniqueBy?: string;
  readonly unit: string;
  readonly stripe?: { readonly eventName: string };
  readonly inUse: boolean;
  readonly archivedFrom?: string;
  readonly warnings?: readonly { readonly detail: string }[];
}

interface MeterSync {
  readonly meter: string;
  readonly eventName: string;
  readonly outcome: string;
  readonly stripeMeterId?: string;
  readonly fault?: string;
}

/** Outcomes that a person has to do something about. */
const FAULTS: readonly string[] = ['refused', 'meter_inactive', 'meter_formula_refused'];

export function metersCommand(): Command {
  return new Command('meters')
    .description('What is counted: list and change meters, and create their counterparts at Stripe.')
    .addHelpText('after', '\nExample:\n  $ tallystick meters sync --dry-run')
    .addCommand(listCommand())
    .addCommand(putCommand())
    .addCommand(archiveCommand())
    .addCommand(previewCommand())
    .addCommand(syncCommand());
}

function listCommand(): Command {
  return createApiVerb({ name: 'list', summary: 'List the meters.', examples: ['tallystick meters list'] }).action(
    async (_options: object, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const meters = (await takeRows(api().list<MeterReply>('/v1/meters'), Infinity)).rows;
        output.result(meters, () => renderMeters(meters));
      });
    },
  );
}

function renderMeters(meters: readonly MeterReply[]): string {
  const headings = ['meter', 'counts', 'of', 'unit', 'Stripe event name', 'definition'];
  const table = renderTable(
    headings.map((heading) => ({ heading })),
    meters.map(({ key, eventType, aggregation, valueFrom, uniqueBy, unit, stripe, inUse, archivedFrom }) => {
      const field = aggregation === 'count' ? '' : ` ${uniqueBy ?? valueFrom}`;
      return [key, `${aggregation}${field}`, eventType, unit, stripe?.eventName, definitionOf(inUse, archivedFrom)];
    }),
  );
  const warnings = meters.flatMap((meter) =>
    (meter.warnings ?? []).map(({ detail }) => `warning: the meter ${meter.key}: ${detail}`),
  );
  return [table, ...warnings].join('\n');
}

/** Whether what it counts may still change. */
function definitionOf(inUse: boolean, archivedFrom?: string): string {
  if (archivedFrom !== undefined) return `archived from ${archivedFrom}`;
  return inUse ? 'in use' : 'editable';
}

function putCommand(): Command {
  const command = createApiVerb({
    name: 'put <key> <json>',
    summary: 'Create a meter or change the given fields of one; JSON as text, @file or -.',
    examples: [
      'tallystick meters put api_calls \'{"eventType":"api_call","aggregation":"sum","stripe":{"eventName":"api_calls"}}\'',
    ],
  }).option('--dry-run', 'show the meter as it is and the change, and change nothing');
  return command.action(async (key: string, json: string, options: { dryRun?: boolean }) => {
    await runVerb(command, async ({ api, output }) => {
      const body = await readJsonArgument(json);
      if (options.dryRun === true) {
        const { before, after } = await foreseePut<MeterReply>(api(), { path: pathOf(key), body });
        output.result({ dryRun: true, before, after }, () => renderChange(before, after));
        return;
      }
      const meter = await api().call<MeterReply>({ method: 'PUT', path: pathOf(key), body });
      output.result(meter, () => renderMeters([meter]));
    });
  });
}

function syncCommand(): Command {
  return createApiVerb({
    name: 'sync',
    summary: 'Compare our meters with Stripe’s and create those that are missing there.',
    examples: ['tallystick meters sync --dry-run', 'tallystick meters sync'],
  })
    .option('--dry-run', 'say what is missing and create nothing')
    .action(async (options: { dryRun?: boolean }, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const input = { dryRun: options.dryRun === true };
        const client = api();
        const { result } = await followJob({ api: client, output }, { job: 'sync-meters', input });
        const synced = (result['meters'] ?? []) as readonly MeterSync[];
        const definitions = new Map<string, string>();
        for await (const { key, inUse } of client.list<MeterReply>('/v1/meters')) {
          definitions.set(key, definitionOf(inUse));
        }
        const meters = synced.map((row) => ({ ...row, definition: definitions.get(row.meter) ?? 'editable' }));
        output.result({ ...result, meters }, () => renderSync(meters));
        const faulty = meters.filter(({ outcome }) => FAULTS.includes(outcome));
        if (faulty.length === 0) return;
        throw new CommandError({
          what: `Stripe's meter cannot be fed: ${faulty.map(({ eventName }) => eventName).join(', ')}`,
          why: faulty.map(describeFault).join('; '),
          todo: 'Reactivate it at Stripe, or name another event name with `tallystick meters put`.',
        });
      });
    });
}

function renderSync(meters: readonly (MeterSync & { readonly definition: string })[]): string {
  return renderTable(
    ['meter', 'Stripe event name', 'outcome', 'Stripe meter', 'definition'].map((heading) => ({ heading })),
    meters.map(({ meter, eventName, outcome, stripeMeterId, definition }) => {
      return [meter, eventName, outcome, stripeMeterId, definition];
    }),
  );
}

function describeFault({ eventName, outcome, fault }: MeterSync): string {
  if (outcome === 'refused') return `${eventName}: ${fault ?? 'Stripe refused'}`;
  return `${eventName} has ${fault ?? 'been deactivated'}`;
}

function pathOf(key: string): string {
  return `/v1/meters/${encodeURIComponent(key)}`;
}

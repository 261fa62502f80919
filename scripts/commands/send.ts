import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { CommandError, usageError } from '../lib/command-error.ts';
import { findRunningDev } from '../lib/dev/running-dev.ts';
import { toIngestResult } from '../lib/import-events.ts';
import { readJsonArgument } from '../lib/json-argument.ts';
import { withRetries } from '../lib/retry.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

interface SendOptions {
  readonly customer?: string;
  readonly type?: string;
  readonly quantity?: string;
  readonly key?: string;
  readonly at?: string;
  readonly user?: string;
  readonly property: readonly string[];
  readonly dryRun?: boolean;
}

export function sendCommand(): Command {
  return createApiVerb({
    name: 'send [json]',
    summary: 'Send one usage event: from options, or JSON as text, @file or -.',
    examples: [
      'tallystick send --customer acme --type api_call --quantity 3 --key req:8f3a',
      'tallystick send @event.json',
    ],
  })
    .option('--customer <id>', 'whose usage')
    .option('--type <type>', 'the event type')
    .option('--quantity <decimal>', 'how much', '1')
    .option('--key <key>', 'the idempotency key; derive it from the work (default: a new one each time)')
    .option('--at <instant>', 'when it occurred (RFC 3339 with an offset; default: now)')
    .option('--user <id>', 'the end user within the customer')
    .option('--property <name=value>', 'a property, as text; can be repeated', collect, [])
    .option('--dry-run', 'show the event and send nothing')
    .action(async (json: string | undefined, options: SendOptions, command: Command) => {
      await runVerb(command, async ({ api, output, signal }) => {
        const client = api();
        const event =
          json === undefined ? toEvent(options, await presentInstant(client.url)) : await readJsonArgument(json);
        const query = { dryRun: options.dryRun };
        const answer = await withRetries(
          () => client.send({ method: 'POST', path: '/v1/events', query, body: event }),
          {
            signal,
            onWait: (reason, waitMs) => output.note(`${reason}; trying again in ${waitMs} ms`),
          },
        );
        const result = toIngestResult(answer);
        const [refused] = result.results.filter(({ outcome }) => outcome !== 'duplicate');
        if (refused !== undefined) throw refusal(refused.outcome, refused.error, options.dryRun === true);
        const would = options.dryRun === true ? 'would be ' : '';
        output.result(
          would === '' ? result : { dryRun: true, event, ...result },
          () => `${would}${result.accepted === 1 ? 'accepted' : 'duplicate'}: ${String(event['idempotencyKey'])}`,
        );
        for (const { detail } of result.warnings ?? []) output.note(`note: ${detail}`);
      });
    });
}

function collect(value: string, previous: readonly string[]): string[] {
  return [...previous, value];
}

/** With the daemon of this folder's `tallystick dev` it is as late as there. */
async function presentInstant(url: string): Promise<string> {
  const dev = await findRunningDev();
  const aheadMs = dev?.url === url ? (dev.aheadMs ?? 0) : 0;
  return new Date(Date.now() + aheadMs).toISOString();
}

function toEvent(options: SendOptions, now: string): Record<string, unknown> {
  if (options.customer === undefined || options.type === undefined) {
    throw usageError('an event needs --customer and --type', 'Give both, or the whole event as JSON.');
  }
  const properties = options.property.map((pair): [string, string] => {
    const at = pair.indexOf('=');
    if (at < 1) throw usageError(`--property ${pair} is not name=value`, 'Write it like --property plan=pro.');
    return [pair.slice(0, at), pair.slice(at + 1)];
  });
  return {
    idempotencyKey: options.key ?? `cli:${randomUUID()}`,
    customerId: options.customer,
    eventType: options.type,
    occurredAt: options.at ?? now,
    quantity: options.quantity,
    ...(options.user !== undefined && { userId: options.user }),
    ...(properties.length > 0 && { properties: Object.fromEntries(properties) }),
  };
}

function refusal(
  outcome: string,
  fault: { code: string; detail: string; pointer?: string } | undefined,
  isDryRun: boolean,
): CommandError {
  return new CommandError({
    what: `the event ${isDryRun ? 'would be' : 'is'} a ${outcome}`.replace('a rejected', 'refused'),
    why: fault === undefined ? undefined : [fault.code, fault.pointer, fault.detail].filter(Boolean).join(' '),
    todo: isDryRun ? 'Correct it first.' : 'Correct it and send it again; it is kept under `tallystick rejected list`.',
  });
}

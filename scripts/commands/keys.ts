import { Command, Option } from 'commander';
import { API_SCOPES, apiKeyId, type ApiKey, type ApiScope } from '../../src/platform/api-key.ts';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../src/platform/durations.ts';
import type { ApiKeys } from '../../src/platform/mongo/api-keys.ts';
import { CommandError, usageError } from '../lib/command-error.ts';
import { withLedger } from '../lib/ledger.ts';
import { renderTable } from '../lib/table.ts';
import { createVerb, runVerb } from '../lib/verb.ts';

interface RotateOptions {
  readonly overlap: string;
  readonly expiresDays?: string;
  readonly dryRun?: boolean;
}

const ID = /^[0-9a-f]{8,64}$/;

export function keysCommand(): Command {
  return new Command('keys')
    .description('API keys. Works on the database that the environment names.')
    .addHelpText('after', '\nExample:\n  $ tallystick keys create --scope events:write --name application')
    .addCommand(createCommand())
    .addCommand(listCommand())
    .addCommand(rotateCommand())
    .addCommand(revokeCommand());
}

function createCommand(): Command {
  return createVerb({
    name: 'create',
    summary: 'Make a key and print it: it is shown this once and stored nowhere.',
    examples: [
      'tallystick keys create --scope events:write --name application',
      'tallystick keys create --scope admin',
    ],
  })
    .addOption(
      new Option('--scope <scope...>', 'what it may do; admin includes the others')
        .choices([...API_SCOPES])
        .makeOptionMandatory(),
    )
    .option('--name <name>', 'what it is for', 'unnamed')
    .option('--expires-days <number>', 'refuse it after so many days')
    .option('--dry-run', 'say what would be made and make nothing')
    .action(
      async (
        options: { scope: ApiScope[]; name: string; expiresDays?: string; dryRun?: boolean },
        command: Command,
      ) => {
        await runVerb(command, async ({ output }) => {
          const now = Date.now();
          const days = options.expiresDays === undefined ? undefined : toDays(options.expiresDays);
          const wanted = {
            name: options.name,
            scopes: [...new Set(options.scope)],
            ...(days !== undefined && { expiresAt: new Date(now + days * DAY_MS) }),
          };
          if (options.dryRun === true) {
            output.result({ dryRun: true, ...wanted }, () => `would make a key with ${wanted.scopes.join(', ')}`);
            return;
          }
          const { key, record } = await withKeys((keys) => keys.create(wanted, new Date(now)));
          output.result({ key, ...record }, () => key);
          output.note(`${record.name}: ${record.scopes.join(', ')}. Keep it now: it cannot be shown again.`);
        });
      },
    );
}

function listCommand(): Command {
  return createVerb({ name: 'list', summary: 'List the keys.', examples: ['tallystick keys list'] }).action(
    async (_options: object, command: Command) => {
      await runVerb(command, async ({ output }) => {
        const found = await withKeys((keys) => keys.list());
        output.result(found, () =>
          renderTable(
            ['id', 'begins with', 'name', 'scopes', 'made', 'state'].map((heading) => ({ heading })),
            found.map((key) => {
              const { id, prefix, name, scopes, createdAt } = key;
              return [
                id.slice(0, 12),
                prefix,
                name,
                scopes.join(','),
                createdAt.toISOString(),
                stateOf(key, Date.now()),
              ];
            }),
          ),
        );
      });
    },
  );
}

function rotateCommand(): Command {
  return createVerb({
    name: 'rotate <id>',
    summary:
      'Make a key that takes the place of another, with its name and scopes, and print it. The old one is taken for the ' +
      'overlap, and never longer than before: time to hand out the new one.',
    examples: ['tallystick keys rotate 3fa2c81b09de', 'tallystick keys rotate 3fa2c81b09de --overlap 7d'],
  })
    .option(
      '--overlap <duration>',
      'how long the old key is still taken: minutes, hours or days (30m, 24h, 7d, 0h)',
      '24h',
    )
    .option('--expires-days <number>', 'refuse the new key after so many days')
    .option('--dry-run', 'say which key it would be and change nothing')
    .action(async (given: string, options: RotateOptions, command: Command) => {
      await runVerb(command, async ({ output }) => {
        const overlapMs = toDurationMs(options.overlap);
        const expiresMs = options.expiresDays === undefined ? undefined : toDays(options.expiresDays) * DAY_MS;
        await withKeys(async (keys) => {
          const at = new Date();
          const old = chooseKey(await keys.list(), given);
          const until = new Date(
            Math.min(at.getTime() + overlapMs, old.expiresAt?.getTime() ?? Number.POSITIVE_INFINITY),
          );
          const told = { old: { id: old.id, name: old.name, prefix: old.prefix, validUntil: until.toISOString() } };
          if (options.dryRun === true) {
            output.result(
              { dryRun: true, ...told },
              () => `would rotate ${old.name}; valid until ${told.old.validUntil}`,
            );
            return;
          }
          const expiresAt = expiresMs === undefined ? undefined : new Date(at.getTime() + expiresMs);
          const created = await keys.rotate(old.id, { overlapMs, at, ...(expiresAt && { expiresAt }) });
          if (created === undefined) throw notRotatable(old);
          output.result({ key: created.key, ...created.record, ...told }, () => created.key);
          output.note(
            `${old.name}: keep the new key now, it cannot be shown again. The old one (${old.prefix}…) is taken until ` +
              `${told.old.validUntil}.`,
          );
        });
      });
    });
}

function notRotatable({ name }: ApiKey): CommandError {
  return new CommandError({
    what: `${name} cannot be rotated`,
    why: 'it is revoked, expired, or was rotated already',
    todo: 'See `tallystick keys list`; make another with `tallystick keys create`.',
  });
}

function toDurationMs(text: string): number {
  const [, number, unit = ''] = /^(\d{1,4})([mhd])$/.exec(text) ?? [];
  const unitMs = { m: MINUTE_MS, h: HOUR_MS, d: DAY_MS }[unit];
  if (number !== undefined && unitMs !== undefined) return Number(number) * unitMs;
  throw usageError(`--overlap ${text} is not possible`, 'Give minutes, hours or days, such as 30m, 24h or 7d.');
}

function revokeCommand(): Command {
  return createVerb({
    name: 'revoke <id>',
    summary: 'Refuse a key from now on: by its id as `list` shows it, or by the key itself.',
    examples: ['tallystick keys revoke 3fa2c81b09de'],
  })
    .option('--dry-run', 'say which key it would be and change nothing')
    .action(async (given: string, options: { dryRun?: boolean }, command: Command) => {
      await runVerb(command, async ({ output }) => {
        await withKeys(async (keys) => {
          const key = chooseKey(await keys.list(), given);
          if (options.dryRun !== true) await keys.revoke(key.id, new Date());
          const done = options.dryRun === true ? 'would revoke' : 'revoked';
          output.result({ id: key.id, name: key.name, dryRun: options.dryRun === true }, () => `${done} ${key.name}`);
        });
      });
    });
}

function chooseKey(keys: readonly ApiKey[], given: string): ApiKey {
  const id = given.startsWith('tly_') ? apiKeyId(given) : given;
  const found = ID.test(id) ? keys.filter((key) => key.id.startsWith(id)) : [];
  const [key] = found;
  if (key !== undefined && found.length === 1) return key;
  throw new CommandError({
    what: found.length === 0 ? 'no key has this id' : 'more than one key begins like this',
    todo: 'See `tallystick keys list`; at least 8 characters of the id are needed.',
  });
}

function stateOf({ revokedAt, expiresAt }: ApiKey, nowMs: number): string {
  if (revokedAt !== undefined) return `revoked ${revokedAt.toISOString()}`;
  if (expiresAt === undefined) return 'valid';
  return `${expiresAt.getTime() <= nowMs ? 'expired' : 'valid until'} ${expiresAt.toISOString()}`;
}

function toDays(text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw usageError(`--expires-days ${text} is not possible`, 'Give a whole number from 1 to 9999.');
}

/** Lends the keys of the ledger that the environment names. */
async function withKeys<T>(work: (keys: ApiKeys) => Promise<T>): Promise<T> {
  const { ApiKeys } = await import('../../src/platform/mongo/api-keys.ts');
  return withLedger((db) => work(new ApiKeys(db)));
}

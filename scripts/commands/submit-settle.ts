import { type Command, InvalidArgumentError } from 'commander';
import { createApiVerb, runVerb } from '../lib/verb.ts';

interface Settled {
  readonly identifier: string;
  readonly state: string;
  readonly replacedBy?: string;
}

interface Options {
  readonly actor: string;
  readonly reason: string;
  readonly counted?: boolean;
  readonly dryRun?: boolean;
}

/** `submit decide`: what a person knows of a submission in doubt. */
export function decideCommand(): Command {
  const verb = createApiVerb({
    name: 'decide <identifier>',
    summary: 'Say whether Stripe counted a submission in doubt; if not, it goes out under a new identifier.',
    examples: [
      'tallystick submit decide ab12cd34:acme:api_calls:w20261121T05:1 --counted yes --actor kim --reason "on invoice 12"',
    ],
  }).requiredOption('--counted <yes|no>', 'whether Stripe counted it', readYesOrNo);
  return settling(verb, ({ counted }) => ({ route: 'decide', body: { counted } }));
}

/** `submit resend`: one more try for a rejected submission. */
export function resendCommand(): Command {
  const verb = createApiVerb({
    name: 'resend <identifier>',
    summary: 'Send the usage of a rejected submission again, under a new identifier.',
    examples: [
      'tallystick submit resend ab12cd34:acme:api_calls:w20261121T05:1 --actor kim --reason "customer restored"',
    ],
  });
  return settling(verb, () => ({ route: 'resend', body: {} }));
}

function settling(verb: Command, toRequest: (options: Options) => { route: string; body: object }): Command {
  return verb
    .requiredOption('--actor <name>', 'who decides; kept')
    .requiredOption('--reason <text>', 'why; kept')
    .option('--dry-run', 'show what would be asked for and change nothing')
    .action(async (identifier: string, options: Options, command: Command) => {
      await runVerb(command, async ({ api, output }) => {
        const { actor, reason, dryRun } = options;
        const { route, body } = toRequest(options);
        const path = `/v1/submissions/${encodeURIComponent(identifier)}/${route}`;
        const request = { method: 'POST' as const, path, body: { ...body, actor, reason } };
        const settled = await api().call<Settled>({ ...request, query: { dryRun } });
        if (dryRun === true) {
          const { state } = settled;
          output.result({ dryRun, ...settled }, () => `would ${route} ${identifier}, which is ${state} now`);
          return;
        }
        const successor = settled.replacedBy === undefined ? '' : ` by ${settled.replacedBy}`;
        output.result(settled, () => `${settled.identifier}: ${settled.state}${successor}`);
      });
    });
}

function readYesOrNo(text: string): boolean {
  if (text === 'yes' || text === 'no') return text === 'yes';
  throw new InvalidArgumentError('Say yes or no.');
}

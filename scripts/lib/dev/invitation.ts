import type { DevEnvironment } from './running-dev.ts';

/** What `dev` prints once everything runs. Lines that begin with two spaces are commands, and run as they stand. */
export interface InvitationInput {
  readonly version: string;
  readonly url: string;
  readonly simulatorUrl: string;
  readonly mongodbUri: string;
  readonly redisUrl: string;
  readonly environment: DevEnvironment;
}

const SHELL_SAFE = /^[A-Za-z0-9_./:@%+,-]+$/;
const LINE_WIDTH_MAX = 110;

/** The addresses, the way from an event to an invoice line, and what another terminal needs. */
export function renderInvitation(at: InvitationInput): string {
  return `
tallystick ${at.version} runs in this folder, on nothing but this machine. Ctrl-C stops everything.

daemon     ${at.url} (interface: ${at.url}/docs)
Stripe     ${at.simulatorUrl} (a double: it keeps everything in memory, and sends the daemon its webhooks)
MongoDB    ${at.mongodbUri}
Redis      ${at.redisUrl}

From an event to an invoice line: paste this into another terminal, in this folder.

  # What is counted, and its counterpart at Stripe.
  tallystick meters put api_calls '{"eventType":"api_call","aggregation":"sum","stripe":{"eventName":"api_calls"}}'
  tallystick meters sync

  # A customer who subscribes to a price of 0.02 USD for each unit of the meter.
  tallystick dev subscribe acme --meter api_calls --unit-amount 2

  # Usage: each key once, for ever. Derive it from the work, and sending the same event again counts nothing twice.
  tallystick send --customer acme --type api_call --quantity 3 --key req:1
  tallystick send --customer acme --type api_call --quantity 4 --key req:2
  tallystick customers show acme

  # A month passes, for the daemon and for Stripe; the invoice bills 7.
  tallystick dev advance 1mo

In this folder every command finds what runs here. For another folder, or for curl:

${renderExports(at.environment)}

  curl -sS "$TALLYSTICK_URL/v1/customers/acme/usage" -H "Authorization: Bearer $TALLYSTICK_API_KEY"
`;
}

/** One `export` command over as many lines as it needs. */
function renderExports(environment: DevEnvironment): string {
  const lines = ['export'];
  for (const [name, value] of Object.entries(environment)) {
    const part = `${name}=${quote(value)}`;
    const last = lines.at(-1) ?? '';
    if (last.length + part.length + 3 <= LINE_WIDTH_MAX) lines[lines.length - 1] = `${last} ${part}`;
    else lines.push(`  ${part}`);
  }
  return lines.map((line) => `  ${line}`).join(' \\\n');
}

function quote(value: string): string {
  return SHELL_SAFE.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`;
}

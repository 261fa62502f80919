import type { Config } from '../../../src/config.ts';
import { isLiveKey } from '../../../src/config-secrets.ts';
import { DELIVERED_STATES } from '../../../src/submissions/submission.ts';
import { ApiKeys } from '../../../src/platform/mongo/api-keys.ts';
import { Customers } from '../../../src/customers/customers-store.ts';
import type { Database } from '../../../src/platform/mongo/database.ts';
import { MeterSubmissions } from '../../../src/submissions/meter-submissions-store.ts';
import { Meters } from '../../../src/meters/meters-store.ts';
import { WebhookInbox } from '../../../src/webhooks/webhook-inbox-store.ts';
import { openStripe } from '../../../src/stripe/client.ts';
import { probeReadRights } from '../../../src/stripe/key-rights.ts';
import { stripeSettings } from '../../../src/daemon/stripe-side.ts';
import { EXIT, type ExitCode } from '../../lib/exit-codes.ts';
import { renderTable } from '../../lib/table.ts';
import type { VerbContext } from '../../lib/verb.ts';
import { withDatabase } from './with-database.ts';

/** A line of the checklist. `by hand`: nobody can see it from here. */
export interface LiveItem {
  readonly item: string;
  readonly state: 'ok' | 'missing' | 'by hand';
  /** What to do, or what was found. */
  readonly note: string;
}

/** `tallystick doctor live`: what has to be so before real usage is billed. Exit code 1 while something is missing. */
export async function checkLive({ output }: VerbContext): Promise<ExitCode> {
  const { loadConfig } = await import('../../../src/config.ts');
  const config = loadConfig();
  const items = await withDatabase(config, async (database) => [
    ...(await keyItems(config)),
    ...(await webhookItems(config, database)),
    ...(await catalogueItems(database)),
    ...handItems(),
    await firstEventItem(database),
  ]);
  output.result({ items }, () =>
    renderTable(
      ['going live', 'state', 'what'].map((heading) => ({ heading })),
      items.map(({ item, state, note }) => [item, state, note]),
    ),
  );
  return items.some(({ state }) => state === 'missing') ? EXIT.failure : EXIT.ok;
}

async function keyItems(config: Config): Promise<LiveItem[]> {
  const { stripeSecretKey: secretKey } = config;
  if (secretKey === undefined) {
    return [
      { item: 'Stripe key', state: 'missing', note: 'set STRIPE_SECRET_KEY to a restricted live key (rk_live_…)' },
    ];
  }
  const isLive = isLiveKey(secretKey);
  const isRestricted = secretKey.startsWith('rk_');
  const rights = await probeReadRights(openStripe(stripeSettings(config, secretKey)));
  const refused = rights.filter(({ isAllowed }) => !isAllowed).map(({ what }) => what);
  return [
    {
      item: 'live key',
      state: isLive ? 'ok' : 'missing',
      note: isLive ? 'STRIPE_LIVE allows it' : 'it is a test key: set a live one, and STRIPE_LIVE=yes',
    },
    {
      item: 'restricted key',
      state: isRestricted ? 'ok' : 'missing',
      note: isRestricted ? 'rk_…' : 'make a restricted key at Stripe: a secret key may do everything',
    },
    {
      item: 'rights to read',
      state: refused.length === 0 ? 'ok' : 'missing',
      note: refused.length === 0 ? rights.map(({ what }) => what).join(', ') : `refused: ${refused.join(', ')}`,
    },
    {
      item: 'rights to write',
      state: 'by hand',
      note: 'meters, meter events, invoices: cannot be tried without writing',
    },
  ];
}

async function webhookItems(config: Config, { db }: Database): Promise<LiveItem[]> {
  const inbox = new WebhookInbox(db);
  const destinations = [
    { name: 'STRIPE_WEBHOOK_SECRET', kind: 'snapshot', secret: config.stripeWebhookSecret },
    { name: 'STRIPE_EVENTS_SECRET', kind: 'thin', secret: config.stripeEventsSecret },
  ] as const;
  const items: LiveItem[] = [];
  for (const { name, kind, secret } of destinations) {
    const item = `${kind} destination`;
    if (secret === undefined) {
      items.push({ item, state: 'missing', note: `set ${name}: docs/webhooks.md` });
      continue;
    }
    const isHeard = await inbox.hasDelivered(kind);
    // Stripe tells of rejected usage alone by thin events: to have heard none is what one hopes for.
    const silence = kind === 'thin' ? 'by hand' : 'missing';
    const note = 'nothing was delivered yet: send a test event from the Dashboard';
    items.push({ item, state: isHeard ? 'ok' : silence, note: isHeard ? 'has delivered' : note });
  }
  return items;
}

async function catalogueItems({ db }: Database): Promise<LiveItem[]> {
  const sending = (await new Meters(db).list()).filter(({ stripe }) => stripe !== undefined);
  const unmapped = await new Customers(db).list({ unmapped: true, limit: 1 });
  const keys = await new ApiKeys(db).list();
  const sender = keys.find(({ scopes, revokedAt }) => scopes.includes('events:write') && revokedAt === undefined);
  return [
    {
      item: 'meters',
      state: sending.length > 0 ? 'ok' : 'missing',
      note: sending.length > 0 ? `${sending.length} send to Stripe` : 'tallystick meters put …, then meters sync',
    },
    {
      item: 'customers mapped',
      state: unmapped.length === 0 ? 'ok' : 'missing',
      note: unmapped.length === 0 ? 'all that we were told of' : 'tallystick customers list --unmapped',
    },
    {
      item: 'key of the application',
      state: sender === undefined ? 'missing' : 'ok',
      note: sender === undefined ? 'tallystick keys create --scope events:write' : sender.name,
    },
  ];
}

/** What only people can see. */
function handItems(): LiveItem[] {
  const hand = { state: 'by hand' } as const;
  return [
    { ...hand, item: 'TLS and proxy', note: 'only /v1/stripe/* from outside, by https, bodies unchanged' },
    { ...hand, item: 'backup', note: 'MongoDB, kept elsewhere, restored once for practice: docs/restore.md' },
    { ...hand, item: 'alerts', note: 'on tallystick_needs_review and /readyz: docs/metrics.md' },
  ];
}

async function firstEventItem({ db }: Database): Promise<LiveItem> {
  const census = await new MeterSubmissions(db).census();
  const counted = census.filter(({ state }) => DELIVERED_STATES.includes(state));
  const count = counted.reduce((sum, row) => sum + row.count, 0);
  return {
    item: 'first event at Stripe',
    state: count > 0 ? 'ok' : 'missing',
    note:
      count > 0 ? `Stripe has taken ${count} meter events` : 'send one, wait for the hour, look at `tallystick status`',
  };
}

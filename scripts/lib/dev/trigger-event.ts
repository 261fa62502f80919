import { setTimeout as delay } from 'node:timers/promises';
import { THIN_TYPES, type WebhookKind } from '../../../src/webhooks/webhook.ts';
import { CommandError } from '../command-error.ts';
import type { SimulatorClient } from '../simulator-client.ts';
import { findMeter, findSubscription, makeSubscription } from './stripe-objects.ts';

/** One attempt to deliver an event. */
export interface Delivery {
  readonly url: string;
  readonly status?: number;
  readonly error?: string;
  readonly outcome: string;
}

export interface TriggeredEvent {
  readonly id: string;
  readonly type: string;
  /** What it is about, and its status; a report of rejected usage is about a meter, or about nothing. */
  readonly object?: string;
  readonly status?: string;
  /** What was made at the double so that there is something to tell of: kind → id. */
  readonly made: Readonly<Record<string, string>>;
  readonly deliveries: readonly Delivery[];
}

interface SimulatorEvent {
  readonly id: string;
  readonly type: string;
  readonly data?: { readonly object?: { readonly id?: string; readonly status?: string } };
  readonly related_object?: { readonly id?: string } | null;
}

const POLL_MS = 150;
const DELIVERY_MS_MAX = 10_000;
/** Rejected usage is reported once for a window of 10 s, 2 s after its end. */
const REPORT_MS_MAX = 20_000;

/** Makes the double tell the daemon of an event, and waits for the daemon's answer. */
export async function triggerEvent(
  simulator: SimulatorClient,
  type: string,
  say: (line: string) => void,
): Promise<TriggeredEvent> {
  const kind = THIN_TYPES.includes(type) ? 'thin' : 'snapshot';
  await refuseDeaf(simulator, kind);
  const made = await makeWhatIsMissing(simulator, kind);
  const parts = Object.entries(made);
  if (parts.length > 0) say(`there was nothing to tell of: made ${parts.map((part) => part.join(' ')).join(', ')}`);
  const before = new Set((await listEvents(simulator, { kind, type })).map(({ id }) => id));
  await simulator.post('/_sim/trigger', { type });
  if (kind === 'thin') say('rejected usage is reported by and by: this takes up to 12 s');
  const event = await poll(kind === 'thin' ? REPORT_MS_MAX : DELIVERY_MS_MAX, async () =>
    (await listEvents(simulator, { kind, type })).findLast(({ id }) => !before.has(id)),
  );
  if (event === undefined) throw new CommandError({ what: `the double made no ${type}`, todo: 'Look at its log.' });
  const { object, status } = subjectOf(event);
  return {
    id: event.id,
    type,
    ...(object !== undefined && { object }),
    ...(status !== undefined && { status }),
    made,
    deliveries: (await poll(DELIVERY_MS_MAX, () => listDeliveries(simulator, event.id))) ?? [],
  };
}

/** A simulator that was started on its own tells nobody. */
async function refuseDeaf(simulator: SimulatorClient, kind: WebhookKind): Promise<void> {
  const { destinations } = await simulator.get<{ destinations: readonly { kind: WebhookKind }[] }>(
    '/_sim/destinations',
  );
  if (destinations.some((destination) => destination.kind === kind)) return;
  throw new CommandError({
    what: `the double of Stripe at ${simulator.url} sends ${kind} events to nobody`,
    todo: 'Use the one of `tallystick dev`, or register a destination: POST /_sim/destinations.',
  });
}

async function makeWhatIsMissing({ url }: SimulatorClient, kind: WebhookKind): Promise<Record<string, string>> {
  const isThere = kind === 'thin' ? await findMeter(url) : await findSubscription(url);
  return isThere === undefined ? makeSubscription(url) : {};
}

async function listEvents(
  simulator: SimulatorClient,
  wanted: { kind: WebhookKind; type: string },
): Promise<SimulatorEvent[]> {
  const { events, thinEvents } = await simulator.get<Record<'events' | 'thinEvents', SimulatorEvent[]>>('/_sim/events');
  return (wanted.kind === 'thin' ? thinEvents : events).filter(({ type }) => type === wanted.type);
}

function subjectOf({ data, related_object: related }: SimulatorEvent): { object?: string; status?: string } {
  const object = data?.object ?? related ?? {};
  return {
    ...(object.id !== undefined && object.id !== '' && { object: object.id }),
    ...(data?.object?.status !== undefined && { status: data.object.status }),
  };
}

/** Undefined as long as there are none. */
async function listDeliveries(simulator: SimulatorClient, eventId: string): Promise<Delivery[] | undefined> {
  const all = await simulator.get<{ deliveries: readonly (Delivery & { eventId: string })[] }>('/_sim/deliveries');
  const own = all.deliveries.filter((delivery) => delivery.eventId === eventId);
  if (own.length === 0) return undefined;
  return own.map(({ url, status, error, outcome }) => ({
    url,
    ...(status !== undefined && { status }),
    ...(error !== undefined && { error }),
    outcome,
  }));
}

/** What `look` finds within the time; undefined when it finds nothing. */
async function poll<T>(withinMs: number, look: () => Promise<T | undefined>): Promise<T | undefined> {
  const endsAt = performance.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined || performance.now() > endsAt) return found;
    await delay(POLL_MS);
  }
}

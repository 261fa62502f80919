import type { FaultKind, FaultPlan, ScriptedFault } from './faults.ts';
import { isMovable } from './movable-clock.ts';
import type { Simulation } from './simulation.ts';
import { changeSwitches } from './switches.ts';
import type { DestinationOptions } from './webhooks/destinations.ts';

/** What a person or another process may ask of a running simulator, as JSON under `/_sim/`. */
export interface ControlAnswer {
  status: number;
  body: unknown;
}

interface FaultsRequest {
  /** Replaces the plan of random faults. */
  plan?: FaultPlan;
  /** Adds scripted faults. */
  next?: ({ kind: FaultKind } & ScriptedFault)[];
  /** Switches off all faults first. */
  clear?: boolean;
}

interface AdvanceRequest {
  toMs?: unknown;
  byMs?: unknown;
}

type Handler = (simulation: Simulation, body: string) => ControlAnswer | Promise<ControlAnswer>;

const handlers: Readonly<Record<string, Handler>> = {
  'GET /_sim/totals': (simulation) =>
    ok({ totals: simulation.totals(), asyncRejections: simulation.asyncRejections.length }),
  'GET /_sim/requests': (simulation) => ok({ requests: simulation.requests() }),
  'POST /_sim/faults': (simulation, body) => ok(changeFaults(simulation, JSON.parse(body) as FaultsRequest)),
  'GET /_sim/clock': (simulation) => ok({ nowMs: simulation.clock.now(), nextDueAtMs: simulation.nextDueAt() }),
  'POST /_sim/clock': (simulation, body) => moveClock(simulation, JSON.parse(body) as { advanceMs?: unknown }),
  'POST /_sim/advance': (simulation, body) => advance(simulation, JSON.parse(body) as AdvanceRequest),
  'GET /_sim/switches': (simulation) => ok({ switches: simulation.switches }),
  'POST /_sim/switches': (simulation, body) => {
    changeSwitches(simulation.switches, JSON.parse(body) as Record<string, unknown>);
    return ok({ switches: simulation.switches });
  },
  'GET /_sim/events': (simulation) => ok({ events: simulation.events(), thinEvents: simulation.thinEvents() }),
  'POST /_sim/trigger': (simulation, body) => {
    simulation.trigger(String((JSON.parse(body) as { type?: unknown }).type));
    return ok({});
  },
  'POST /_sim/resend': (simulation, body) => {
    simulation.resend(String((JSON.parse(body) as { eventId?: unknown }).eventId));
    return ok({});
  },
  'GET /_sim/destinations': (simulation) => ok({ destinations: simulation.destinations() }),
  'POST /_sim/destinations': (simulation, body) =>
    ok(simulation.addDestination(JSON.parse(body) as DestinationOptions)),
  'POST /_sim/destinations/remove': (simulation, body) =>
    ok({ removed: simulation.removeDestination(String((JSON.parse(body) as { id?: unknown }).id)) }),
  'GET /_sim/deliveries': (simulation) => ok({ deliveries: simulation.deliveries() }),
  'POST /_sim/deliver': async (simulation, body) => {
    const { settle } = JSON.parse(body) as { settle?: unknown };
    return ok({ deliveries: await (settle === true ? simulation.settleDeliveries() : simulation.deliverDue()) });
  },
};

/** `undefined` where there is no such control route. */
export async function control(
  simulation: Simulation,
  request: string,
  body: string,
): Promise<ControlAnswer | undefined> {
  try {
    return await handlers[request]?.(simulation, body === '' ? '{}' : body);
  } catch (err) {
    if (err instanceof SyntaxError || err instanceof RangeError) return { status: 400, body: { error: err.message } };
    throw err;
  }
}

function changeFaults(simulation: Simulation, { plan, next, clear }: FaultsRequest): object {
  if (clear === true) simulation.clearFaults();
  if (plan !== undefined) simulation.setFaults(plan);
  for (const { kind, ...script } of next ?? []) simulation.failNext(kind, script);
  return {};
}

/** Moves the clock in one step: what falls due on the way is done afterwards. */
function moveClock({ clock }: Simulation, { advanceMs }: { advanceMs?: unknown }): ControlAnswer {
  if (!isMovable(clock)) return { status: 409, body: { error: 'the clock is not manual' } };
  if (typeof advanceMs !== 'number' || !(advanceMs >= 0)) {
    return { status: 400, body: { error: 'advanceMs must be a number of milliseconds' } };
  }
  clock.advance(advanceMs);
  return ok({ now: new Date(clock.now()).toISOString() });
}

/** Moves the clock with a stop wherever something is due. */
async function advance(simulation: Simulation, { toMs, byMs }: AdvanceRequest): Promise<ControlAnswer> {
  const { clock } = simulation;
  if (!isMovable(clock)) return { status: 409, body: { error: 'the clock is not manual' } };
  const target = typeof byMs === 'number' ? clock.now() + byMs : toMs;
  if (typeof target !== 'number' || !Number.isFinite(target)) {
    return { status: 400, body: { error: 'toMs or byMs must be a number of milliseconds' } };
  }
  await simulation.advanceTo(target);
  return ok({ now: new Date(clock.now()).toISOString() });
}

function ok(body: unknown): ControlAnswer {
  return { status: 200, body };
}

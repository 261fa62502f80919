import { ManualClock } from '../clock.ts';
import type { FaultKind, FaultPlan, ScriptedFault } from './faults.ts';
import type { Simulation } from './simulation.ts';

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

/** `undefined` where there is no such control route. */
export function control(simulation: Simulation, request: string, body: string): ControlAnswer | undefined {
  try {
    switch (request) {
      case 'GET /_sim/totals':
        return ok({ totals: simulation.totals(), asyncRejections: simulation.asyncRejections.length });
      case 'GET /_sim/requests':
        return ok({ requests: simulation.requests() });
      case 'POST /_sim/faults':
        return ok(changeFaults(simulation, JSON.parse(body) as FaultsRequest));
      case 'POST /_sim/clock':
        return moveClock(simulation, JSON.parse(body) as { advanceMs?: unknown });
      default:
        return undefined;
    }
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

function moveClock(simulation: Simulation, { advanceMs }: { advanceMs?: unknown }): ControlAnswer {
  if (!(simulation.clock instanceof ManualClock)) return { status: 409, body: { error: 'the clock is not manual' } };
  if (typeof advanceMs !== 'number' || !(advanceMs >= 0)) {
    return { status: 400, body: { error: 'advanceMs must be a number of milliseconds' } };
  }
  simulation.clock.advance(advanceMs);
  return ok({ now: new Date(simulation.clock.now()).toISOString() });
}

function ok(body: unknown): ControlAnswer {
  return { status: 200, body };
}

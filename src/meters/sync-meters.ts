import type { Meter } from './meter.ts';
import { type RefusedItems, Refusals } from '../stripe/stripe-refusal.ts';
import { type DestinationMeter, formulaFault, modeOf } from './stripe-meter.ts';

/** What a comparison of one of our meters with Stripe's came to. */
export interface MeterSync {
  readonly meter: string;
  readonly eventName: string;
  /**
   * `created`: there was none; `missing`: a dry run would create it; `refused`: Stripe refuses to create it; a fault cannot
   * be mended by us.
   */
  readonly outcome: 'present' | 'created' | 'missing' | 'refused' | 'meter_inactive' | 'meter_formula_refused';
  readonly stripeMeterId?: string;
  /** What the Stripe meter was made with that keeps it from being fed, by name; what Stripe says where it refuses. */
  readonly fault?: string;
}

export interface SyncMetersDeps {
  meters(): Promise<Meter[]>;
  readonly stripeMeters: {
    list(): Promise<DestinationMeter[]>;
    create(input: { eventName: string; displayName: string }): Promise<DestinationMeter>;
  };
}

/**
 * Compares our meters with Stripe's and creates those that are missing, as `sum` meters. A `last` meter that someone made
 * is fed with the running figures of max, last and unique meters. Any other formula, or a time window, cannot be fed nor
 * changed and is only named: make a new one under another event name.
 */
export async function syncMeters(
  deps: SyncMetersDeps,
  input: { dryRun?: boolean } = {},
): Promise<{ meters: MeterSync[]; unknown: string[]; refused?: RefusedItems }> {
  const ours = (await deps.meters()).filter(({ stripe }) => stripe !== undefined);
  const theirs = new Map((await deps.stripeMeters.list()).map((meter) => [meter.eventName, meter]));
  const meters: MeterSync[] = [];
  const refusals = new Refusals();
  const context = { theirs, refusals, dryRun: input.dryRun === true };
  for (const meter of ours) meters.push(await syncMeter(deps, meter, context));
  const named = new Set(ours.map(({ stripe }) => stripe?.eventName));
  const unknown = [...theirs.keys()].filter((eventName) => !named.has(eventName)).sort();
  return { meters, unknown, ...refusals.result() };
}

async function syncMeter(
  deps: SyncMetersDeps,
  meter: Meter,
  context: { theirs: ReadonlyMap<string, DestinationMeter>; refusals: Refusals; dryRun: boolean },
): Promise<MeterSync> {
  const eventName = meter.stripe?.eventName ?? '';
  const found = context.theirs.get(eventName);
  const base = { meter: meter.key, eventName };
  if (found === undefined) {
    if (context.dryRun) return { ...base, outcome: 'missing' };
    try {
      const created = await deps.stripeMeters.create({ eventName, displayName: meter.displayName });
      return { ...base, outcome: 'created', stripeMeterId: created.id };
    } catch (error) {
      // One name that Stripe does not take must not keep the other meters from being made.
      context.refusals.note(`meter ${meter.key} (${eventName})`, error);
      return { ...base, outcome: 'refused', fault: error instanceof Error ? error.message : String(error) };
    }
  }
  const present = { ...base, stripeMeterId: found.id };
  const fault = formulaFault(found, modeOf(meter, found));
  if (fault !== undefined) return { ...present, outcome: 'meter_formula_refused', fault };
  return { ...present, outcome: found.isActive ? 'present' : 'meter_inactive' };
}

import { type DestinationMeter, formulaFault } from '../src/domain/destination.ts';
import type { Meter } from '../src/domain/meter.ts';
import { modeOf } from '../src/domain/submission-mode.ts';

/** What a comparison of one of our meters with Stripe's came to. */
export interface MeterSync {
  readonly meter: string;
  readonly eventName: string;
  /** `created`: there was none; `missing`: a dry run would create it; a fault cannot be mended by us. */
  readonly outcome: 'present' | 'created' | 'missing' | 'meter_inactive' | 'meter_formula_refused';
  readonly stripeMeterId?: string;
  /** What the Stripe meter was made with that keeps it from being fed, by name. */
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
): Promise<{ meters: MeterSync[]; unknown: string[] }> {
  const ours = (await deps.meters()).filter(({ stripe }) => stripe !== undefined);
  const theirs = new Map((await deps.stripeMeters.list()).map((meter) => [meter.eventName, meter]));
  const meters: MeterSync[] = [];
  for (const meter of ours) meters.push(await syncMeter(deps, meter, { theirs, dryRun: input.dryRun === true }));
  const named = new Set(ours.map(({ stripe }) => stripe?.eventName));
  return { meters, unknown: [...theirs.keys()].filter((eventName) => !named.has(eventName)).sort() };
}

async function syncMeter(
  deps: SyncMetersDeps,
  meter: Meter,
  context: { theirs: ReadonlyMap<string, DestinationMeter>; dryRun: boolean },
): Promise<MeterSync> {
  const eventName = meter.stripe?.eventName ?? '';
  const found = context.theirs.get(eventName);
  const base = { meter: meter.key, eventName };
  if (found === undefined) {
    if (context.dryRun) return { ...base, outcome: 'missing' };
    const created = await deps.stripeMeters.create({ eventName, displayName: meter.displayName });
    return { ...base, outcome: 'created', stripeMeterId: created.id };
  }
  const present = { ...base, stripeMeterId: found.id };
  const fault = formulaFault(found, modeOf(meter, found));
  if (fault !== undefined) return { ...present, outcome: 'meter_formula_refused', fault };
  return { ...present, outcome: found.isActive ? 'present' : 'meter_inactive' };
}

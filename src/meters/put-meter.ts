import type { Clock } from '../platform/clock.ts';
import { earliestArchiveMs } from './meter-archive.ts';
import { changeMeter, type MeterChange, type MeterDefinition } from './meter-definition.ts';
import { DaemonError } from '../platform/errors.ts';

export interface PutMeterDeps {
  readonly clock: Pick<Clock, 'now'>;
  readonly meters: {
    find(key: string): Promise<MeterDefinition | null>;
    count(): Promise<number>;
    /** All of them; asked for by a dry run, which no unique index refuses. */
    list(): Promise<readonly MeterDefinition[]>;
    save(
      meter: MeterDefinition,
      previous: MeterDefinition | undefined,
    ): Promise<'saved' | 'changed' | 'event-name-taken'>;
  };
}

export interface PutMeterInput {
  readonly key: string;
  readonly change: MeterChange;
  /** Says what the meter would be, by the same rules, and writes nothing. */
  readonly dryRun?: boolean;
}

/** Each is part of every derivation, and of every answer with a customer's usage. */
export const METERS_MAX = 5_000;
/** How often a change is decided again because someone else changed the meter meanwhile. */
const ATTEMPTS_MAX = 10;

/**
 * Creates a meter or changes the given fields of one; what is not given stays. Putting the same again changes nothing,
 * also when the meter is in use.
 * @throws DaemonError `meter_invalid`, `meter_in_use`, `meters_too_many`, `event_name_taken`, `write_contended`.
 */
export async function putMeter(
  deps: PutMeterDeps,
  input: PutMeterInput,
): Promise<{ meter: MeterDefinition; created: boolean }> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const before = (await deps.meters.find(input.key)) ?? undefined;
    const meter = changeMeter(before, { ...input, nowMs: deps.clock.now() });
    if (meter === before) return { meter, created: false };
    if (before === undefined && (await deps.meters.count()) >= METERS_MAX) throw metersTooMany();
    if (input.dryRun === true) {
      await refuseTakenName(deps, meter);
      return { meter, created: before === undefined };
    }
    const outcome = await deps.meters.save(meter, before);
    if (outcome === 'event-name-taken') throw eventNameTaken(meter);
    if (outcome === 'saved') return { meter, created: before === undefined };
  }
  throw new DaemonError({
    kind: 'transient',
    code: 'write_contended',
    message: 'The meter was changed by others all the time. Try again.',
    context: { meter: input.key },
  });
}

async function refuseTakenName(deps: PutMeterDeps, meter: MeterDefinition): Promise<void> {
  const others = (await deps.meters.list()).filter(({ _id }) => _id !== meter._id);
  const isTaken =
    meter.stripe !== undefined && others.some(({ stripe }) => stripe?.eventName === meter.stripe?.eventName);
  if (isTaken) throw eventNameTaken(meter);
}

/**
 * Archives a meter: it counts and sends nothing from an instant on. One that is archived already stays as it is.
 * @throws DaemonError `meter_not_found`, and what `putMeter` throws.
 */
export async function archiveMeter(
  deps: PutMeterDeps,
  input: { readonly key: string; readonly from?: string; readonly dryRun?: boolean },
): Promise<{ meter: MeterDefinition }> {
  const { key, from, dryRun = false } = input;
  const before = await deps.meters.find(key);
  if (before === null) {
    throw new DaemonError({
      kind: 'not-found',
      code: 'meter_not_found',
      message: 'There is no meter with this key.',
      context: { meter: key },
    });
  }
  if (from === undefined && before.archivedFrom !== undefined) return { meter: before };
  const nowMs = deps.clock.now();
  const change = { archivedFrom: from ?? new Date(earliestArchiveMs(nowMs)).toISOString() };
  return dryRun ? { meter: changeMeter(before, { key, change, nowMs }) } : putMeter(deps, { key, change });
}

function metersTooMany(): DaemonError {
  return new DaemonError({
    kind: 'conflict',
    code: 'meters_too_many',
    message: `There are ${METERS_MAX} meters already. Count more with \`where\` and \`groupBy\` of those that exist.`,
  });
}

function eventNameTaken(meter: MeterDefinition): DaemonError {
  return new DaemonError({
    kind: 'conflict',
    code: 'event_name_taken',
    message: 'Another meter sends to this Stripe event name.',
    context: { meter: meter._id, eventName: meter.stripe?.eventName, pointer: '/stripe/eventName' },
  });
}

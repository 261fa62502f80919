import { isStripeCustomerId } from '../customers/calendar/billing-customer.ts';
import type { IngestWarning } from './ingest-result.ts';
import type { UsageEvent } from './usage-event.ts';

/** The customer that is mapped to a Stripe customer under whose own id usage comes. */
export interface MappedElsewhere {
  readonly customerId: string;
  /** A person decided that the usage counts with it. */
  readonly isCounted: boolean;
}

/** By the id under which usage came. */
export type MappedIds = ReadonlyMap<string, MappedElsewhere>;

export interface MappedElsewhereDeps {
  /** Of these ids those that are Stripe's own and that another customer is mapped to. */
  mappedElsewhere(customerIds: readonly string[]): Promise<MappedIds>;
}

interface Carried {
  readonly event: UsageEvent;
}

/** Ids that are told of in one answer. */
const WARNINGS_MAX = 20;

/** Only ids of Stripe's own can be mapped elsewhere: for all others nothing is asked. */
export async function findMappedElsewhere(deps: MappedElsewhereDeps, carried: readonly Carried[]): Promise<MappedIds> {
  const ids = new Set(carried.map(({ event }) => event.customerId).filter(isStripeCustomerId));
  return ids.size === 0 ? new Map() : deps.mappedElsewhere([...ids]);
}

/** The events, for the customers that they count with. */
export function countWithMapped<T extends Carried>(carried: readonly T[], elsewhere: MappedIds): readonly T[] {
  if (elsewhere.size === 0) return carried;
  return carried.map((one) => {
    const mapped = elsewhere.get(one.event.customerId);
    if (mapped?.isCounted !== true) return one;
    return { ...one, event: { ...one.event, customerId: mapped.customerId } };
  });
}

export function mappingWarnings(elsewhere: MappedIds): IngestWarning[] {
  return [...elsewhere].slice(0, WARNINGS_MAX).map(([id, { customerId, isCounted }]) => ({
    code: 'customer_mapped_elsewhere',
    detail: isCounted
      ? `Usage of "${id}" counts with "${customerId}", which is mapped to it, as was decided. Send it as "${customerId}".`
      : `"${customerId}" is mapped to "${id}": usage under this id is stored and not sent to Stripe. Send it as ` +
        `"${customerId}", and decide about what came: tallystick customers decide ${id} --help`,
  }));
}

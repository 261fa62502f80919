import { DaemonError } from '../../platform/errors.ts';
import { MINUTE_MS } from '../../platform/durations.ts';

/**
 * What becomes of usage that came under a Stripe customer's own id while another customer is mapped to it: `count` it with
 * that customer, from now on and all that came before; or `set_aside` what came so far, never to be billed.
 */
export type MappedIdDecision = 'count' | 'set_aside';

/** The decision of a person about the usage of one id. */
export interface MappedIdRecord {
  /** Stripe's id, under which usage came. */
  readonly _id: string;
  /** The customer that is mapped to it. */
  readonly customerId: string;
  readonly decision: MappedIdDecision;
  readonly actor: string;
  readonly reason: string;
  readonly at: Date;
  /** What follows from it may not have been done yet. */
  readonly pending?: true;
}

/**
 * Events may still be stored under the id by processes that have not heard of the decision: it is looked at until then.
 * They ask again after seconds.
 */
const SETTLING_MS = 10 * MINUTE_MS;

/** Whether everything that follows from a decision can have been done. */
export function isSettling(record: MappedIdRecord, nowMs: number): boolean {
  return record.decision === 'count' && nowMs < record.at.getTime() + SETTLING_MS;
}

/**
 * The record after a decision; `before` itself where it says the same.
 *
 * Usage that is set aside can be counted afterwards, all of it. What was counted cannot be set aside: it may be billed.
 * @param to.mappedTo the customer that is mapped to the id, undefined where none is.
 * @throws DaemonError `customer_not_mapped_elsewhere`, `mapped_id_counted`.
 */
export function decideMappedId(
  before: MappedIdRecord | undefined,
  to: Omit<MappedIdRecord, 'customerId' | 'pending'> & { readonly mappedTo: string | undefined },
): MappedIdRecord {
  const { mappedTo, ...decided } = to;
  const { _id } = decided;
  if (mappedTo === undefined || mappedTo === _id) {
    throw new DaemonError({
      kind: 'conflict',
      code: 'customer_not_mapped_elsewhere',
      message: `No other customer is mapped to ${_id}: its usage needs no decision.`,
      context: { customerId: _id },
    });
  }
  const isCounted = before?.decision === 'count' && before.customerId === mappedTo;
  if (isCounted && decided.decision === 'count') return before;
  if (isCounted) {
    throw new DaemonError({
      kind: 'conflict',
      code: 'mapped_id_counted',
      message: `The usage of ${_id} counts with ${mappedTo} and may be billed. Take it back with an adjustment of ${mappedTo}.`,
      context: { customerId: _id, mappedTo, decidedBy: before.actor, pointer: '/decision' },
    });
  }
  return { ...decided, customerId: mappedTo, pending: true };
}

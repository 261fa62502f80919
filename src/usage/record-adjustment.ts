import { boundary } from '../platform/boundary.ts';
import type { Clock } from '../platform/clock.ts';
import {
  type Adjustment,
  adjustmentFingerprint,
  differingAdjustmentFields,
  type AdjustmentInput,
  assertAdjustable,
  parseAdjustment,
} from './adjustment.ts';
import { type BillingCustomer, countsFromMs, unknownCustomer } from '../customers/calendar/billing-customer.ts';
import { conflictDetail } from './event-conflict.ts';
import type { Meter } from '../meters/meter.ts';
import { epochHourOf, type CustomerHour } from '../customers/calendar/window.ts';
import { DaemonError } from '../platform/errors.ts';

interface StoredAdjustment extends Adjustment {
  readonly receivedAtMs: number;
}

/** `Entry` names a journal entry. */
export interface RecordAdjustmentDeps<Entry> {
  readonly clock: Pick<Clock, 'now'>;
  /** The meter with a key, if there is one. */
  findMeter(key: string): Promise<Meter | undefined>;
  billingOf(customerIds: readonly string[]): Promise<Map<string, BillingCustomer>>;
  /** Whether anybody has told us of a customer, or it has any usage. */
  isKnownCustomer(customerId: string): Promise<boolean>;
  readonly journal: {
    /** Writes an open entry for an hour, by majority. */
    open(hour: CustomerHour, at: Date): Promise<Entry>;
    /** Closes it; where it was given up meanwhile, writes the hour anew. */
    close(entry: Entry, hour: CustomerHour, at: Date): Promise<void>;
  };
  readonly adjustments: {
    insert(adjustment: Adjustment, receivedAtMs: number): Promise<'inserted' | 'stored-before'>;
    find(idempotencyKey: string, customerId: string): Promise<StoredAdjustment | undefined>;
  };
}

export interface RecordAdjustmentResult {
  readonly outcome: 'created' | 'duplicate';
  readonly adjustment: StoredAdjustment;
}

/**
 * Stores a correction of usage; durable when this returns. By the rules of ingest: the hour is in the journal, by
 * majority, before the fact, also for a repetition whose first answer may have been lost; and the journal still names it
 * when the fact is durable. After an error nothing was acknowledged, and the same can be sent again.
 * @param input.ageMsMax older corrections are refused.
 * @param input.isNewCustomer whether a customer that nobody knows is meant; else its id is taken for misspelt.
 * @throws DaemonError for a broken rule (the codes of a usage event), `meter_not_found`, `adjustment_not_additive`,
 *   `adjustment_not_whole`, `adjustment_before_meter`, `adjustment_customer_unknown`,
 *   `adjustment_conflict`; `transient` without a durable answer.
 */
export async function recordAdjustment<Entry>(
  deps: RecordAdjustmentDeps<Entry>,
  input: { adjustment: AdjustmentInput; ageMsMax: number; isNewCustomer?: boolean; dryRun?: boolean },
): Promise<RecordAdjustmentResult> {
  const receivedAtMs = deps.clock.now();
  const verdict = parseAdjustment(input.adjustment, { nowMs: receivedAtMs, ageMsMax: input.ageMsMax });
  if ('fault' in verdict) {
    const { code, detail, pointer } = verdict.fault;
    throw new DaemonError({ kind: 'invalid', code, message: detail, context: { pointer } });
  }
  const { adjustment } = verdict;
  await checkMeter(deps, adjustment);
  if (input.isNewCustomer !== true) await checkCustomer(deps, adjustment);
  if (input.dryRun === true) return foresee(deps, { ...adjustment, receivedAtMs });
  const { customerId, occurredAtMs } = adjustment;
  const hour = { customerId, hour: epochHourOf(occurredAtMs) };
  const entry = await deps.journal.open(hour, new Date(receivedAtMs));
  await boundary('adjust.journal-written');
  const outcome = await deps.adjustments.insert(adjustment, receivedAtMs);
  await boundary('adjust.fact-stored');
  await deps.journal.close(entry, hour, new Date(deps.clock.now()));
  await boundary('adjust.journal-closed');
  if (outcome === 'inserted') return { outcome: 'created', adjustment: { ...adjustment, receivedAtMs } };
  return { outcome: 'duplicate', adjustment: await requireSame(deps, adjustment) };
}

/** What recording would answer. */
async function foresee<Entry>(
  deps: RecordAdjustmentDeps<Entry>,
  adjustment: StoredAdjustment,
): Promise<RecordAdjustmentResult> {
  const stored = await deps.adjustments.find(adjustment.idempotencyKey, adjustment.customerId);
  if (stored === undefined) return { outcome: 'created', adjustment };
  return { outcome: 'duplicate', adjustment: await requireSame(deps, adjustment) };
}

async function checkMeter<Entry>(deps: RecordAdjustmentDeps<Entry>, adjustment: Adjustment): Promise<void> {
  const { customerId } = adjustment;
  const meter = await deps.findMeter(adjustment.meter);
  if (meter === undefined) {
    throw new DaemonError({
      kind: 'not-found',
      code: 'meter_not_found',
      message: 'There is no meter with this key.',
      context: { meter: adjustment.meter, pointer: '/meter' },
    });
  }
  const customer = (await deps.billingOf([customerId])).get(customerId) ?? unknownCustomer(customerId);
  if (customer.mappedElsewhere !== undefined) {
    const { mappedElsewhere } = customer;
    throw new DaemonError({
      kind: 'conflict',
      code: 'customer_mapped_elsewhere',
      message: `${mappedElsewhere} is mapped to this Stripe customer: adjust the usage of ${mappedElsewhere}.`,
      context: { customerId, mappedTo: mappedElsewhere, pointer: '/customerId' },
    });
  }
  assertAdjustable(adjustment, meter, countsFromMs(meter, customer));
}

/** A correction for a customer that does not exist would be counted, sent and billed as nobody's. */
async function checkCustomer<Entry>(deps: RecordAdjustmentDeps<Entry>, { customerId }: Adjustment): Promise<void> {
  if (await deps.isKnownCustomer(customerId)) return;
  throw new DaemonError({
    kind: 'invalid',
    code: 'adjustment_customer_unknown',
    message:
      'Nobody has told of this customer, and it has no usage: the id may be misspelt. If it is meant, say so with ' +
      'newCustomer=true (tallystick adjust --new-customer).',
    context: { customerId, pointer: '/customerId' },
  });
}

/** The adjustment that is stored under this key, if its content is the same. */
async function requireSame<Entry>(
  deps: RecordAdjustmentDeps<Entry>,
  adjustment: Adjustment,
): Promise<StoredAdjustment> {
  const { idempotencyKey, customerId } = adjustment;
  const stored = await deps.adjustments.find(idempotencyKey, customerId);
  if (stored === undefined) {
    throw new DaemonError({
      kind: 'transient',
      code: 'store_unavailable',
      message: 'An adjustment with this key is being stored and is not durable yet.',
    });
  }
  if (adjustmentFingerprint(stored).equals(adjustmentFingerprint(adjustment))) return stored;
  throw new DaemonError({
    kind: 'conflict',
    code: 'adjustment_conflict',
    message: conflictDetail('adjustment', differingAdjustmentFields(stored, adjustment)),
    context: { idempotencyKey, customerId, pointer: '/idempotencyKey' },
  });
}

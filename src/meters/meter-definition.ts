import { DAY_MS, HOUR_MS } from '../platform/durations.ts';
import { DaemonError } from '../platform/errors.ts';
import {
  type Aggregation,
  type EventField,
  formatEventField,
  type LateUsagePolicy,
  type MeterCondition,
  parseEventField,
} from './meter.ts';
import { idFault } from '../platform/id-text.ts';
import { archivedAfter, earlierOf, isResumed } from './meter-archive.ts';
import { shortTextFault } from '../platform/short-text.ts';
import { parseTimestamp } from '../platform/instant.ts';
import { EVENT_TYPE_LENGTH_MAX, parseProperty, type PropertyValue, isPropertyName } from './property.ts';

/** A meter as it is stored. */
export interface MeterDefinition {
  readonly _id: string;
  readonly displayName: string;
  readonly unit: string;
  readonly eventType: string;
  readonly aggregation: Aggregation;
  readonly valueFrom: string;
  readonly uniqueBy?: string;
  readonly where: readonly MeterCondition[];
  readonly groupBy: readonly string[];
  readonly effectiveFrom?: Date;
  readonly lateUsage: LateUsagePolicy;
  readonly stripe?: { readonly eventName: string };
  /** Counts nothing from this instant on. */
  readonly archivedFrom?: Date;
  /** Where it went before sending was stopped: it can go nowhere else afterwards. */
  readonly formerStripe?: { readonly eventName: string };
  /** Set by the first run that derives with it. */
  readonly usedAt?: Date;
  /** Hours from this instant on are still to be queued. */
  readonly requeueFrom?: Date;
  readonly revision: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** What a caller wants to change. A field that is absent stays as it is; null clears it. */
export interface MeterChange {
  readonly displayName?: string;
  readonly unit?: string;
  readonly eventType?: string;
  readonly aggregation?: Aggregation;
  /** `quantity` or `properties.<name>`. */
  readonly valueFrom?: string | null;
  /** `userId` or `properties.<name>`. */
  readonly uniqueBy?: string | null;
  readonly where?: readonly { readonly property: string; readonly in: readonly (string | number | boolean)[] }[] | null;
  readonly groupBy?: readonly string[] | null;
  /** RFC 3339, a whole hour. */
  readonly effectiveFrom?: string | null;
  readonly lateUsage?: LateUsagePolicy;
  readonly stripe?: { readonly eventName: string } | null;
  /** RFC 3339, a whole hour ahead; null: it counts again, also what came meanwhile. */
  readonly archivedFrom?: string | null;
}

const CONDITIONS_MAX = 20;
const CONDITION_VALUES_MAX = 100;
const GROUP_FIELDS_MAX = 5;
/** How far back a new meter looks for events that came before it: a yearly billing period and two days. */
const LOOKBACK_MS = 367 * DAY_MS;
const METER_KEY = /^[A-Za-z0-9._-]{1,64}$/;
const EVENT_NAME = /^[A-Za-z0-9._:/-]{1,100}$/;

/**
 * The meter after a change; `before` itself when the change changes nothing.
 *
 * Once a meter was used, what it counts is fixed: a figure that was submitted must not change its meaning. Its names and
 * its late-usage policy may change, it may be connected to Stripe if it was not, be disconnected and connected to the same
 * Stripe meter again, and it may be archived.
 * @throws DaemonError `meter_invalid` with `context.pointer`, or `meter_in_use`.
 */
export function changeMeter(
  before: MeterDefinition | undefined,
  input: { readonly key: string; readonly change: MeterChange; readonly nowMs: number },
): MeterDefinition {
  const { key, change, nowMs } = input;
  if (!METER_KEY.test(key)) throw invalid('A meter key is 1 to 64 characters of A-Z a-z 0-9 . _ -', '');
  const fault = before === undefined ? idFault(key) : undefined;
  if (fault !== undefined) throw invalid(`A meter key ${fault.phrase}.`, '');
  const counted = countedAfter(before, change);
  const stripe = pick(change.stripe, before?.stripe, readStripe);
  const archivedFrom = archivedAfter(before?.archivedFrom, change.archivedFrom, nowMs);
  const isRedefined = before === undefined || countedText(before) !== countedText(counted);
  checkUse(before, { isRedefined, stripe });
  const createdAt = before?.createdAt ?? new Date(nowMs);
  const requeueFrom = isRedefined
    ? (counted.effectiveFrom ?? new Date(createdAt.getTime() - LOOKBACK_MS))
    : earlierOf(before.requeueFrom, isResumed(before.archivedFrom, archivedFrom) ? before.archivedFrom : undefined);
  const formerStripe = stripe === undefined ? (before?.stripe ?? before?.formerStripe) : undefined;
  const next: MeterDefinition = {
    _id: key,
    displayName: readText(change.displayName ?? before?.displayName ?? key, 'displayName'),
    unit: readText(change.unit ?? before?.unit ?? 'unit', 'unit'),
    ...counted,
    lateUsage: change.lateUsage ?? before?.lateUsage ?? 'review',
    ...(stripe !== undefined && { stripe }),
    ...(archivedFrom !== undefined && { archivedFrom }),
    ...(before?.usedAt !== undefined && formerStripe !== undefined && { formerStripe }),
    ...(before?.usedAt !== undefined && { usedAt: before.usedAt }),
    ...(requeueFrom !== undefined && { requeueFrom }),
    revision: (before?.revision ?? 0) + 1,
    createdAt,
    updatedAt: new Date(nowMs),
  };
  return before !== undefined && contentOf(before) === contentOf(next) ? before : next;
}

/** What is fixed by use. */
type Counted = Pick<
  MeterDefinition,
  'eventType' | 'aggregation' | 'valueFrom' | 'uniqueBy' | 'where' | 'groupBy' | 'effectiveFrom'
>;

function countedAfter(before: MeterDefinition | undefined, change: MeterChange): Counted {
  const eventType = change.eventType ?? before?.eventType;
  if (eventType === undefined) throw invalid('eventType is required.', '/eventType');
  if (!EVENT_NAME.test(eventType)) {
    const detail = `eventType must be 1 to ${EVENT_TYPE_LENGTH_MAX} characters of A-Z a-z 0-9 . _ : / -`;
    throw invalid(detail, '/eventType');
  }
  const aggregation = change.aggregation ?? before?.aggregation;
  if (aggregation === undefined) throw invalid('aggregation is required.', '/aggregation');
  const valueFrom = pick(change.valueFrom, before?.valueFrom, readValueFrom) ?? 'quantity';
  if ((aggregation === 'count' || aggregation === 'unique') && valueFrom !== 'quantity') {
    throw invalid(`A ${aggregation} meter takes no value from its events.`, '/valueFrom');
  }
  const uniqueBy = pick(change.uniqueBy, before?.uniqueBy, readUniqueBy);
  if (aggregation === 'unique' && uniqueBy === undefined) throw invalid('unique needs uniqueBy.', '/uniqueBy');
  if (aggregation !== 'unique' && uniqueBy !== undefined) {
    throw invalid('Only a unique meter has uniqueBy.', '/uniqueBy');
  }
  const effectiveFrom = pick(change.effectiveFrom, before?.effectiveFrom, readEffectiveFrom);
  return {
    eventType,
    aggregation,
    valueFrom,
    ...(uniqueBy !== undefined && { uniqueBy }),
    where: pick(change.where, before?.where, readConditions) ?? [],
    groupBy: pick(change.groupBy, before?.groupBy, readGroupBy) ?? [],
    ...(effectiveFrom !== undefined && { effectiveFrom }),
  };
}

function pick<Given, Value>(
  given: Given | null | undefined,
  before: Value | undefined,
  read: (given: Given) => Value,
): Value | undefined {
  if (given === undefined) return before;
  return given === null ? undefined : read(given);
}

function checkUse(
  before: MeterDefinition | undefined,
  change: { isRedefined: boolean; stripe: { eventName: string } | undefined },
): void {
  if (before?.usedAt === undefined) return;
  const goesTo = before.stripe ?? before.formerStripe;
  const isReconnected =
    goesTo !== undefined && change.stripe !== undefined && goesTo.eventName !== change.stripe.eventName;
  if (!change.isRedefined && !isReconnected) return;
  throw new DaemonError({
    kind: 'conflict',
    code: 'meter_in_use',
    message:
      'What a meter counts, and where it goes, is fixed once it was used. Make a new meter, and archive this one ' +
      '(`tallystick meters archive`); `"stripe": null` only stops sending.',
    context: { meter: before._id, usedAt: before.usedAt.toISOString() },
  });
}

function countedText(counted: Counted): string {
  return JSON.stringify([
    counted.eventType,
    counted.aggregation,
    counted.valueFrom,
    counted.uniqueBy,
    counted.where.map((condition) => [condition.property, condition.in]),
    counted.groupBy,
    counted.effectiveFrom,
  ]);
}

function contentOf(meter: MeterDefinition): string {
  return JSON.stringify([
    countedText(meter),
    meter.displayName,
    meter.unit,
    meter.lateUsage,
    meter.stripe?.eventName,
    meter.archivedFrom,
  ]);
}

function readText(text: string, name: string): string {
  const fault = shortTextFault(text, 255);
  if (fault !== undefined) throw invalid(`${name} ${fault}.`, `/${name}`);
  return text;
}

function readField(text: string, rule: { refused: EventField['kind']; detail: string; pointer: string }): string {
  const field = parseEventField(text);
  if (field === undefined || field.kind === rule.refused) throw invalid(rule.detail, rule.pointer);
  return formatEventField(field);
}

function readValueFrom(text: string): string {
  const detail = 'valueFrom must be quantity or properties.<name>.';
  return readField(text, { refused: 'userId', detail, pointer: '/valueFrom' });
}

function readUniqueBy(text: string): string {
  const detail = 'uniqueBy must be userId or properties.<name>.';
  return readField(text, { refused: 'quantity', detail, pointer: '/uniqueBy' });
}

function readGroupBy(fields: readonly string[]): string[] {
  if (fields.length > GROUP_FIELDS_MAX) throw invalid(`groupBy may name ${GROUP_FIELDS_MAX} fields.`, '/groupBy');
  const read = fields.map((text, index) => {
    const detail = 'groupBy must name userId or properties.<name>.';
    return readField(text, { refused: 'quantity', detail, pointer: `/groupBy/${index}` });
  });
  if (new Set(read).size < read.length) throw invalid('groupBy names a field twice.', '/groupBy');
  return read;
}

function readConditions(conditions: NonNullable<MeterChange['where']>): MeterCondition[] {
  if (conditions.length > CONDITIONS_MAX) throw invalid(`where may have ${CONDITIONS_MAX} conditions.`, '/where');
  return conditions.map((condition, index) => {
    const pointer = `/where/${index}`;
    const property = condition.property.startsWith('properties.')
      ? condition.property.slice('properties.'.length)
      : condition.property;
    if (!isPropertyName(property)) throw invalid('where must name a property.', `${pointer}/property`);
    if (condition.in.length === 0 || condition.in.length > CONDITION_VALUES_MAX) {
      throw invalid(`in must list 1 to ${CONDITION_VALUES_MAX} values.`, `${pointer}/in`);
    }
    return { property, in: condition.in.map((value, at) => readValue(property, value, `${pointer}/in/${at}`)) };
  });
}

/** A value that no event can hold would never match, without a word. */
function readValue(property: string, value: string | number | boolean, pointer: string): PropertyValue {
  const parsed = parseProperty(property, value);
  if ('fault' in parsed) throw invalid(`No event can have this value: ${parsed.fault.detail}`, pointer);
  return parsed.value;
}

function readEffectiveFrom(text: string): Date {
  const instantMs = parseTimestamp(text);
  if (instantMs === undefined || instantMs % HOUR_MS !== 0) {
    throw invalid('effectiveFrom must be a whole UTC hour, like 2026-11-21T05:00:00Z.', '/effectiveFrom');
  }
  return new Date(instantMs);
}

function readStripe(stripe: { eventName: string }): { eventName: string } {
  if (!EVENT_NAME.test(stripe.eventName)) {
    throw invalid('eventName must be 1 to 100 characters of A-Z a-z 0-9 . _ : / -', '/stripe/eventName');
  }
  return { eventName: stripe.eventName };
}

function invalid(message: string, pointer: string): DaemonError {
  return new DaemonError({ kind: 'invalid', code: 'meter_invalid', message, context: { pointer } });
}

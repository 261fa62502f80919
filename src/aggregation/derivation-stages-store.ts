import { Decimal128, type Document } from 'mongodb';
import type { Meter } from '../meters/meter.ts';
import { type DerivationScope, factsOf } from '../usage/derivation-scope-store.ts';
import { conditionOf, fieldPath, valueOf } from './fact-expressions-store.ts';

// The pipelines that read usage events for a derivation.
const ZERO = Decimal128.fromString('0');

/** The events of a scope and type. */
function matchEvents(scope: DerivationScope, eventType: string): Document {
  return { $match: { ...factsOf(scope), eventType } };
}

/** The accumulators of one meter, prefixed so that many meters share one pass over the facts. */
function accumulatorsOf(meter: Meter, prefix: string): Document {
  const condition = conditionOf(meter);
  if (meter.aggregation === 'count') {
    return { [`${prefix}Count`]: { $sum: condition === undefined ? 1 : { $cond: [condition, 1, 0] } } };
  }
  const value =
    condition === undefined ? valueOf(meter.valueFrom) : { $cond: [condition, valueOf(meter.valueFrom), null] };
  const alwaysCounts = condition === undefined && meter.valueFrom.kind === 'quantity';
  const isCounted = { $ne: [value, null] };
  const isUncountable = { $and: [condition ?? true, { $eq: [value, null] }] };
  return {
    [`${prefix}Count`]: { $sum: alwaysCounts ? 1 : { $cond: [isCounted, 1, 0] } },
    ...(!alwaysCounts && { [`${prefix}Uncountable`]: { $sum: { $cond: [isUncountable, 1, 0] } } }),
    [`${prefix}Value`]:
      meter.aggregation === 'sum'
        ? { $sum: value }
        : meter.aggregation === 'max'
          ? { $max: value }
          : {
              // Documents compare field by field: the greatest instant, then the greatest id.
              $max: { $cond: [isCounted, { at: '$occurredAt', id: '$_id', value }, null] },
            },
  };
}

/** One pass over the facts of an event type for all aggregations but `unique`, whose values are needed one by one. */
export function rowStages(scope: DerivationScope, eventType: string, meters: readonly Meter[]): Document[] {
  return [
    matchEvents(scope, eventType),
    {
      $group: Object.assign(
        { _id: { customerId: '$customerId', hour: '$hour' } },
        ...meters.map((meter, index) => accumulatorsOf(meter, prefixOf(index))),
      ) as Document,
    },
  ];
}

export function prefixOf(index: number): string {
  return `m${index}`;
}

/** The distinct values of a `unique` meter per customer and hour, with how many facts had each. */
export function uniqueStages(scope: DerivationScope, meter: Meter): Document[] {
  const condition = conditionOf(meter);
  return [
    matchEvents(scope, meter.eventType),
    ...(condition === undefined ? [] : [{ $match: { $expr: condition } }]),
    {
      $group: {
        _id: {
          customerId: '$customerId',
          hour: '$hour',
          value: fieldPath(meter.uniqueBy ?? { kind: 'quantity' }),
          ...(meter.groupBy.length > 0 && {
            by: meter.groupBy.map((field) => ({ $ifNull: [fieldPath(field), null] })),
          }),
        },
        facts: { $sum: 1 },
      },
    },
  ];
}

export function groupStages(scope: DerivationScope, meter: Meter): Document[] {
  const value = '$mValue';
  const quantity =
    meter.aggregation === 'count' ? { $toDecimal: '$mCount' } : meter.aggregation === 'last' ? `${value}.value` : value;
  return [
    matchEvents(scope, meter.eventType),
    {
      $group: {
        _id: {
          customerId: '$customerId',
          hour: '$hour',
          by: meter.groupBy.map((field) => ({ $ifNull: [fieldPath(field), null] })),
        },
        ...accumulatorsOf(meter, 'm'),
      },
    },
    { $match: { mCount: { $gt: 0 } } },
    {
      $project: {
        _id: 0,
        customerId: '$_id.customerId',
        hour: '$_id.hour',
        by: '$_id.by',
        eventCount: '$mCount',
        quantity: { $ifNull: [{ $toDecimal: quantity }, ZERO] },
        ...(meter.aggregation === 'last' && { last: value }),
      },
    },
  ];
}

import { Decimal128, type Document } from 'mongodb';
import type { EventField, Meter } from '../meters/meter.ts';
import { QUANTITY_PATTERN } from '../platform/quantity.ts';
import { toStoredProperty } from '../usage/usage-events-store.ts';

// Expressions over one usage event, for the stages that derive rows from raw facts.
const ZERO = Decimal128.fromString('0');

/** The value a meter takes from a fact: a Decimal128 that is not negative, or null when it cannot be counted. */
export function valueOf(field: EventField): unknown {
  if (field.kind === 'quantity') return '$quantity';
  const path = fieldPath(field);
  const isText = { $eq: [{ $type: path }, 'string'] };
  const number = {
    $cond: [
      { $isNumber: path },
      path,
      {
        $cond: [
          { $regexMatch: { input: { $cond: [isText, path, ''] }, regex: QUANTITY_PATTERN } },
          { $convert: { input: path, to: 'decimal', onError: null, onNull: null } },
          null,
        ],
      },
    ],
  };
  return { $let: { vars: { number }, in: { $cond: [{ $gte: ['$$number', ZERO] }, '$$number', null] } } };
}

/** Whether a fact satisfies a meter's conditions; undefined when it has none. */
export function conditionOf(meter: Meter): Document | undefined {
  if (meter.where.length === 0) return undefined;
  return {
    $and: meter.where.map(({ property, in: values }) => ({
      $in: [`$properties.${property}`, { $literal: values.map(toStoredProperty) }],
    })),
  };
}

/** Where a field of a fact lies. */
export function fieldPath(field: EventField): string {
  return field.kind === 'property' ? `$properties.${field.name}` : `$${field.kind}`;
}

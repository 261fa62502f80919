import { Type } from 'typebox';

/** The longest id of a customer, in bytes; as a bound on characters it is generous. */
const ID_LENGTH_MAX = 255;

export const CustomerId = Type.String({
  minLength: 1,
  maxLength: ID_LENGTH_MAX,
  description: "The team's own id of the customer, or Stripe's.",
});

export const MeterKey = Type.String({ minLength: 1, maxLength: 64, description: 'The key of a meter.' });

export const Instant = Type.String({
  description: 'RFC 3339 with an offset in requests, UTC in answers.',
  examples: ['2026-11-21T05:00:00.000Z'],
});

export const DecimalText = Type.String({ description: 'An exact decimal.', examples: ['1250.5'] });

export const Actor = Type.String({ minLength: 1, maxLength: 255, description: 'Who decides; kept for ever.' });

export const Reason = Type.String({ minLength: 1, maxLength: 1_000, description: 'Why; kept for ever.' });

/** A text, or null to clear the field. */
export const NullableText = Type.Union([Type.String(), Type.Null()]);

/** The cursor of a list in order of an id: the last id of the page before. */
export const AfterId = Type.Tuple([Type.String()]);

/** Of every write: what it would answer, with nothing written. */
export const DryRun = Type.Unsafe<'true' | 'false'>({
  type: 'string',
  enum: ['true', 'false'],
  description: 'true answers what would be, by the same rules, and changes nothing.',
});

/** The query of a write that takes nothing else. */
export const DryRunQuery = Type.Object({ dryRun: Type.Optional(DryRun) }, { additionalProperties: false });

export function isDryRun({ dryRun }: { dryRun?: 'true' | 'false' | undefined }): boolean {
  return dryRun === 'true';
}

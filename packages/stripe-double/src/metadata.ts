import type { Stripe } from 'stripe';
import { invalidRequest } from './answer.ts';
import type { Parameters } from './parameters.ts';

/** Adds and replaces keys; an empty value removes its key, an empty `metadata` all (Stripe docs, Metadata). */
export function mergeMetadata(present: Stripe.Metadata, parameters: Parameters): Stripe.Metadata {
  const merged = new Map(parameters.isUnset('metadata') ? [] : Object.entries(present));
  for (const [key, value] of parameters.map('metadata')) {
    if (key.length > 40 || value.length > 500) {
      throw invalidRequest('Metadata keys can be at most 40, values at most 500 characters long.', {
        param: `metadata[${key}]`,
      });
    }
    if (value === '') merged.delete(key);
    else merged.set(key, value);
  }
  if (merged.size > 50) throw invalidRequest('Metadata can have at most 50 keys.', { param: 'metadata' });
  return Object.fromEntries(merged);
}

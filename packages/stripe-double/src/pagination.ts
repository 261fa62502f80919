import type { Stripe } from 'stripe';
import { invalidRequest } from './answer.ts';
import type { Parameters } from './parameters.ts';

const pageSizeDefault = 10;

/**
 * One page of `rows`, which are in the order of the list (newest first). `has_more` speaks of the direction asked for
 * (Stripe docs, Pagination: limit 1 to 100, default 10; the two cursors exclude one another).
 */
export function paginate<Row extends { id: string }>(
  rows: readonly Row[],
  parameters: Parameters,
  url: string,
): Stripe.ApiList<Row> {
  const limit = parameters.integer('limit') ?? pageSizeDefault;
  const after = parameters.text('starting_after');
  const before = parameters.text('ending_before');
  if (after !== undefined && before !== undefined) {
    throw invalidRequest('You may only specify one of these parameters: ending_before, starting_after.', {
      code: 'parameters_exclusive',
    });
  }
  if (before !== undefined) {
    const end = indexOf(rows, before, 'ending_before');
    const start = Math.max(0, end - limit);
    return { object: 'list', data: rows.slice(start, end), has_more: start > 0, url };
  }
  const start = after === undefined ? 0 : indexOf(rows, after, 'starting_after') + 1;
  return { object: 'list', data: rows.slice(start, start + limit), has_more: start + limit < rows.length, url };
}

function indexOf(rows: readonly { id: string }[], id: string, param: string): number {
  const index = rows.findIndex((row) => row.id === id);
  if (index >= 0) return index;
  throw invalidRequest(`No such object: '${id}'`, { code: 'resource_missing', param });
}

/** Which lines of invoices are shown beside a figure. */
import { expect, it } from 'vitest';
import type { Invoice } from '../../src/mirror/invoice.ts';
import { invoicesOf } from '../../src/explain/invoice-quantity.ts';

const [from, to] = [new Date('2026-11-01T00:00:00Z'), new Date('2026-12-01T00:00:00Z')];
const OF = { range: { fromMs: from.getTime(), toMs: to.getTime() }, stripeMeterIds: ['mtr_1'] };

function invoice(id: string, given: Partial<Invoice> & { quantity: string }): Invoice {
  const { quantity, ...rest } = given;
  const line = { id: `il_${id}`, stripeMeterId: 'mtr_1', from, to, quantityDecimal: quantity };
  return {
    _id: id,
    stripeCustomerId: 'cus_1',
    status: 'paid',
    autoAdvance: true,
    createdAt: from,
    lines: [line],
    ...rest,
  };
}

it('leaves out the 0 of an invoice that was final before the period ended, and nothing else', () => {
  const shown = invoicesOf(
    [
      invoice('first', { quantity: '0', finalizedAt: from }),
      invoice('threshold', { quantity: '5', finalizedAt: new Date('2026-11-20T00:00:00Z') }),
      invoice('draft', { quantity: '0', status: 'draft', createdAt: to }),
      invoice('cycle', { quantity: '0', createdAt: to, finalizedAt: new Date('2026-12-01T01:00:00Z') }),
    ],
    OF,
  );
  expect(shown.map(({ invoiceId }) => invoiceId)).toEqual(['threshold', 'draft', 'cycle']);
});

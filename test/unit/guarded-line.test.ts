import { describe, expect, it } from 'vitest';
import { judgeBilled, judgeSummary, usageLines, verdictOf } from '../../src/invoice-guard/guarded-line.ts';
import type { Invoice, InvoiceLine } from '../../src/mirror/invoice.ts';

const FROM = new Date('2026-01-31T10:23:45Z');
const TO = new Date('2026-02-28T10:23:45Z');
const METERS = new Map([['mtr_calls', 'calls']]);

function invoiceOf(...lines: Partial<InvoiceLine>[]): Invoice {
  return {
    _id: 'in_1',
    stripeCustomerId: 'cus_1',
    status: 'draft',
    billingReason: 'subscription_cycle',
    autoAdvance: true,
    createdAt: TO,
    lines: lines.map((line, index) => ({
      id: `il_${index}`,
      stripeMeterId: 'mtr_calls',
      subscriptionItemId: 'si_1',
      from: FROM,
      to: TO,
      quantityDecimal: '1.5',
      ...line,
    })),
  };
}

describe('usageLines', () => {
  it('adds up the lines of the tiers of one item', () => {
    expect(usageLines(invoiceOf({}, { quantityDecimal: '0.000000000001' }), METERS)).toEqual([
      {
        lineId: 'il_0',
        meter: 'calls',
        stripeMeterId: 'mtr_calls',
        fromMs: FROM.getTime(),
        toMs: TO.getTime(),
        billed: '1.500000000001',
      },
    ]);
  });

  it('keeps items and periods apart, since each bills its own usage', () => {
    const lines = usageLines(
      invoiceOf({}, { subscriptionItemId: 'si_2' }, { from: new Date(FROM.getTime() + 1) }),
      METERS,
    );
    expect(lines.map(({ billed }) => billed)).toEqual(['1.5', '1.5', '1.5']);
  });

  it('leaves out what is not usage of ours, and what has not ended', () => {
    const later = new Date(TO.getTime() + 1_000);
    const other = { ...invoiceOf({ stripeMeterId: 'mtr_other' }, { to: later }, { from: TO }) };
    expect(usageLines(other, METERS)).toEqual([]);
    const { stripeMeterId: _none, ...fee } = invoiceOf({}).lines[0] as InvoiceLine;
    expect(usageLines({ ...invoiceOf(), lines: [fee] }, METERS)).toEqual([]);
  });
});

describe('verdicts', () => {
  it('hold a summary against what is expected', () => {
    expect(judgeSummary(undefined, '5')).toBe('not_read');
    expect(judgeSummary('5.0', '5')).toBe('match');
    expect(judgeSummary('4.999999999999', '5')).toBe('missing');
    expect(judgeSummary('-1', '-2')).toBe('surplus');
    // A JSON number holds 15 digits.
    expect(judgeSummary('12345678901234568', '12345678901234567.5')).toBe('match');
  });

  it('hold what is billed against what was used, to the last decimal, and late usage explains the rest', () => {
    expect(judgeBilled('5', { used: '5', late: '0' })).toBe('match');
    expect(judgeBilled('5', { used: '5.000000000001', late: '0' })).toBe('missing');
    expect(judgeBilled('5', { used: '7', late: '2' })).toBe('late');
    expect(judgeBilled('5', { used: '7', late: '1' })).toBe('missing');
    expect(judgeBilled('7', { used: '7', late: '2' })).toBe('surplus');
    expect(judgeBilled(undefined, { used: '7', late: '2' })).toBe('not_read');
    // A total below zero is billed as zero.
    expect(judgeBilled('0', { used: '-3', late: '0' })).toBe('match');
  });

  it('come to one for the invoice', () => {
    const of = (...verdicts: ('match' | 'missing' | 'late' | 'not_read')[]) =>
      verdictOf(verdicts.map((verdict) => ({ verdict })));
    expect([of(), of('match', 'late'), of('match', 'not_read'), of('not_read', 'missing')]).toEqual([
      'equal',
      'equal',
      'unknown',
      'different',
    ]);
  });
});

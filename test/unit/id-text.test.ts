import { describe, expect, it } from 'vitest';
import { changeCustomer } from '../../src/customers/customer.ts';
import { idFault } from '../../src/platform/id-text.ts';
import { changeMeter, type MeterChange } from '../../src/meters/meter-definition.ts';
import { parseUsageEvent } from '../../src/usage/usage-event.ts';
import { DAY_MS } from '../../src/platform/durations.ts';
import { parseAdjustment } from '../../src/usage/adjustment.ts';

const NOW_MS = Date.parse('2026-11-21T05:30:00Z');
const BOUNDS = { nowMs: NOW_MS, ageMsMax: 34 * DAY_MS };
/** By name: what nobody sees at the end of a text. */
const BLANKS: [name: string, blank: string][] = [
  ['a space', ' '],
  ['a no-break space', '\u00a0'],
  ['an ogham space', '\u1680'],
  ['an em space', '\u2003'],
  ['a narrow no-break space', '\u202f'],
  ['an ideographic space', '\u3000'],
  ['a line separator', '\u2028'],
  ['a zero-width space', '\u200b'],
  ['a word joiner', '\u2060'],
  ['a byte order mark', '\ufeff'],
];

function codeOf(fields: Record<string, unknown>): string | undefined {
  const event = { idempotencyKey: 'k', customerId: 'acme', eventType: 'call', occurredAt: '2026-11-21T05:00:00Z' };
  const verdict = parseUsageEvent({ ...event, ...fields }, BOUNDS);
  return 'fault' in verdict ? verdict.fault.code : undefined;
}

describe('an id', () => {
  it.each(BLANKS)('with %s at an end is refused in every field, and named', (_name, blank) => {
    for (const field of ['idempotencyKey', 'customerId', 'userId']) {
      for (const id of [`acme${blank}`, `${blank}acme`, blank]) {
        expect(codeOf({ [field]: id }), `${field} ${JSON.stringify(id)}`).toBe('text_blank_around');
      }
      expect(codeOf({ [field]: `ac${blank}me` })).toBeUndefined();
    }
    expect(idFault(`acme${blank}`)?.phrase).toContain(
      `U+${blank.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`,
    );
  });

  it('that means a folder in an address is refused', () => {
    for (const id of ['.', '..']) expect(codeOf({ customerId: id })).toBe('id_is_path');
    for (const id of ['...', '.a', 'a..', '-', '~', 'é']) expect(codeOf({ customerId: id })).toBeUndefined();
  });

  it('that was read in the wrong encoding is refused', () => {
    expect(codeOf({ customerId: 'M\ufffdller' })).toBe('text_replacement_character');
    expect(codeOf({ customerId: 'Müller' })).toBeUndefined();
  });

  it('of a new customer, a new meter and an adjustment obeys the same rules', () => {
    const customer = (customerId: string) => () => changeCustomer(undefined, { customerId, change: {}, nowMs: NOW_MS });
    for (const id of ['acme ', '..', '\ufeffacme']) expect(customer(id)).toThrow(/customerId/);
    const meter = (key: string) => () =>
      changeMeter(undefined, { key, change: { eventType: 'call', aggregation: 'sum' }, nowMs: NOW_MS });
    for (const key of ['.', '..']) expect(meter(key)).toThrow(/folders/);
    const adjustment = { meter: 'n', occurredAt: '2026-11-21T05:00:00Z', quantity: '1', reason: 'r', actor: 'ada' };
    const adjusted = parseAdjustment({ ...adjustment, idempotencyKey: 'k', customerId: 'acme\u00a0' }, BOUNDS);
    expect(adjusted).toMatchObject({ fault: { code: 'text_blank_around', pointer: '/customerId' } });
  });

  it('that is stored already stays readable and can be changed', () => {
    const before = { ...changeCustomer(undefined, { customerId: 'acme', change: {}, nowMs: NOW_MS }), _id: 'acme ' };
    const change = { stripeCustomerId: 'cus_1' };
    expect(changeCustomer(before, { customerId: 'acme ', change, nowMs: NOW_MS }).stripeCustomerId).toBe('cus_1');
  });
});

describe('a condition of a meter', () => {
  const put = (value: string | number) => () => {
    const change: MeterChange = { eventType: 'call', aggregation: 'sum', where: [{ property: 'plan', in: [value] }] };
    return changeMeter(undefined, { key: 'n', change, nowMs: NOW_MS });
  };

  it('lists only values that an event can hold', () => {
    expect(put('pro')).not.toThrow();
    expect(put(5e-7)).not.toThrow();
    for (const value of ['a\u0000b', '\ud800', 'x'.repeat(8 * 1024), 1e21, 0.1 + 0.2]) {
      expect(put(value), String(value).slice(0, 20)).toThrow(/No event can have this value/);
    }
  });
});

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fingerprintOf, parseUsageEvent, type UsageEvent } from '../../src/usage/usage-event.ts';
import { DAY_MS } from '../../src/platform/durations.ts';
import { parseTimestamp } from '../../src/platform/instant.ts';

const NOW_MS = Date.parse('2026-11-21T05:30:00Z');
const BOUNDS = { nowMs: NOW_MS, ageMsMax: 34 * DAY_MS };

function input(overrides: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    idempotencyKey: 'req:1',
    customerId: 'acme',
    eventType: 'api.call',
    occurredAt: '2026-11-21T05:00:00Z',
    ...overrides,
  };
}

function parsed(overrides: Record<string, unknown> = {}): UsageEvent {
  const verdict = parseUsageEvent(input(overrides), BOUNDS);
  if ('fault' in verdict) throw new Error(`${verdict.fault.code} at ${verdict.fault.pointer}`);
  return verdict.event;
}

function faultOf(value: unknown): [code: string, pointer: string] {
  const verdict = parseUsageEvent(value, BOUNDS);
  if ('event' in verdict) throw new Error('it was accepted');
  return [verdict.fault.code, verdict.fault.pointer];
}

describe('a usage event', () => {
  it('is brought into canonical form', () => {
    expect(
      parsed({
        occurredAt: '2026-11-21T06:00:00.123999+01:00',
        quantity: '12.50',
        userId: 'u',
        properties: { b: 2.5, a: 'x', c: false, d: -0 },
      }),
    ).toEqual({
      idempotencyKey: 'req:1',
      customerId: 'acme',
      eventType: 'api.call',
      occurredAtMs: Date.parse('2026-11-21T05:00:00.123Z'),
      quantity: '12.5',
      userId: 'u',
      properties: [
        ['a', 'x'],
        ['b', { number: '2.5' }],
        ['c', false],
        ['d', { number: '0' }],
      ],
    });
  });

  it('counts one when it has no quantity', () => {
    expect(parsed().quantity).toBe('1');
  });

  it('may have small numbers, however its language writes them', () => {
    const { quantity, properties } = parsed(JSON.parse('{"quantity":5e-07,"properties":{"size":-0.0000009}}'));
    expect(quantity).toBe('0.0000005');
    expect(properties).toEqual([['size', { number: '-0.0000009' }]]);
  });

  it('with a field that is misspelt is told the fields there are, and the nearest', () => {
    const verdict = parseUsageEvent(input({ custmer_id: 'x' }), BOUNDS);
    expect(verdict).toHaveProperty(
      'fault.detail',
      expect.stringMatching(/Did you mean "customerId"\? There are idempo/),
    );
  });

  const refusals: [value: unknown, code: string, pointer: string][] = [
    [null, 'event_not_an_object', ''],
    [true, 'event_not_an_object', ''],
    [[5], 'event_not_an_object', ''],
    ['x', 'event_not_an_object', ''],
    [{}, 'field_missing', '/idempotencyKey'],
    [input({ customerId: undefined }), 'field_missing', '/customerId'],
    [input({ eventType: undefined }), 'field_missing', '/eventType'],
    [input({ occurredAt: undefined }), 'field_missing', '/occurredAt'],
    [input({ idempotencyKey: 5 }), 'field_type', '/idempotencyKey'],
    [input({ idempotencyKey: '' }), 'field_length', '/idempotencyKey'],
    [input({ idempotencyKey: 'ä'.repeat(128) }), 'field_length', '/idempotencyKey'],
    [input({ idempotencyKey: 'a\u001fb' }), 'text_control_character', '/idempotencyKey'],
    [input({ customerId: 'a\u0085' }), 'text_control_character', '/customerId'],
    [input({ customerId: '\udc00' }), 'text_not_well_formed', '/customerId'],
    [input({ customerId: 'M\ufffdller' }), 'text_replacement_character', '/customerId'],
    [input({ userId: '\ufffd' }), 'text_replacement_character', '/userId'],
    [input({ userId: null }), 'field_type', '/userId'],
    [input({ eventType: 'a b' }), 'event_type_invalid', '/eventType'],
    [input({ eventType: 'a'.repeat(101) }), 'event_type_invalid', '/eventType'],
    [input({ eventType: 'a\n' }), 'event_type_invalid', '/eventType'],
    [input({ occurredAt: NOW_MS }), 'field_type', '/occurredAt'],
    [input({ quantity: null }), 'field_type', '/quantity'],
    [input({ quantity: '1e3' }), 'quantity_invalid', '/quantity'],
    [input({ quantity: -1 }), 'quantity_negative', '/quantity'],
    [input({ quantity: '1234567890123456' }), 'quantity_too_long', '/quantity'],
    [input({ 'a/b~c': 1 }), 'field_unknown', '/a~1b~0c'],
    [input({ properties: null }), 'field_type', '/properties'],
    [input({ properties: [] }), 'field_type', '/properties'],
    [input({ properties: { a: null } }), 'field_type', '/properties/a'],
    [input({ properties: { a: [1] } }), 'field_type', '/properties/a'],
    [input({ properties: { a: 1e300 } }), 'quantity_too_long', '/properties/a'],
    [input({ properties: { a: Number.POSITIVE_INFINITY } }), 'quantity_invalid', '/properties/a'],
    [input({ properties: { '': 1 } }), 'property_name_invalid', '/properties/'],
    [input({ properties: { 'a.b': 1 } }), 'property_name_invalid', '/properties/a.b'],
    [input({ properties: { $gt: 1 } }), 'property_name_invalid', '/properties/$gt'],
    [input({ properties: { a: 'x'.repeat(8 * 1024) } }), 'properties_too_large', '/properties'],
    [input({ properties: { a: '\ud800' } }), 'text_not_well_formed', '/properties/a'],
    [
      input({ properties: Object.fromEntries(Array.from({ length: 51 }, (_, index) => [`p${index}`, 1])) }),
      'properties_too_many',
      '/properties',
    ],
    [JSON.parse('{"__proto__":{"a":1}}'), 'field_unknown', '/__proto__'],
  ];
  it.each(refusals)('%j is refused', (value, code, pointer) => {
    expect(faultOf(value)).toEqual([code, pointer]);
  });

  it('may be at most five minutes ahead and at most as old as allowed', () => {
    const at = (ms: number): Record<string, unknown> => input({ occurredAt: new Date(ms).toISOString() });
    expect(parseUsageEvent(at(NOW_MS + 300_000), BOUNDS)).toHaveProperty('event');
    expect(faultOf(at(NOW_MS + 300_001))[0]).toBe('occurred_at_in_future');
    expect(parseUsageEvent(at(NOW_MS - BOUNDS.ageMsMax), BOUNDS)).toHaveProperty('event');
    expect(faultOf(at(NOW_MS - BOUNDS.ageMsMax - 1))[0]).toBe('occurred_at_too_old');
  });

  it('is never accepted or refused by throwing, whatever the JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue({ depthSize: 'medium' }), fc.constantFrom(...Object.keys(input())), (value, name) => {
        const mutilated = parseUsageEvent(input({ [name]: value }), BOUNDS);
        expect('event' in mutilated || 'fault' in mutilated).toBe(true);
        expect(parseUsageEvent(value, BOUNDS)).toHaveProperty('fault');
      }),
    );
  });
});

describe('a timestamp', () => {
  const accepted: [text: string, utc: string][] = [
    ['2026-11-21T05:00:00Z', '2026-11-21T05:00:00.000Z'],
    ['2026-11-21t05:00:00z', '2026-11-21T05:00:00.000Z'],
    ['2026-11-21T05:00:00.1Z', '2026-11-21T05:00:00.100Z'],
    ['2026-11-21T05:00:00.123456789Z', '2026-11-21T05:00:00.123Z'],
    ['2026-11-21T05:00:00.999999Z', '2026-11-21T05:00:00.999Z'],
    ['2026-11-21T00:30:00+05:30', '2026-11-20T19:00:00.000Z'],
    ['2026-11-21T00:30:00-00:00', '2026-11-21T00:30:00.000Z'],
    ['2024-02-29T23:59:59Z', '2024-02-29T23:59:59.000Z'],
    ['2000-02-29T00:00:00Z', '2000-02-29T00:00:00.000Z'],
  ];
  it.each(accepted)('%s is %s', (text, utc) => {
    expect(new Date(parseTimestamp(text) ?? Number.NaN).toISOString()).toBe(utc);
  });

  const refused = [
    '2026-11-21T05:00:00',
    '2026-11-21',
    '2026-11-21 05:00:00Z',
    '2026-11-21T05:00Z',
    '2026-11-21T24:00:00Z',
    '2026-11-21T05:60:00Z',
    '2026-12-31T23:59:60Z',
    '2026-02-29T00:00:00Z',
    '1900-02-29T00:00:00Z',
    '2026-04-31T00:00:00Z',
    '2026-00-10T00:00:00Z',
    '2026-13-10T00:00:00Z',
    '2026-11-00T00:00:00Z',
    '2026-11-21T05:00:00+24:00',
    '2026-11-21T05:00:00+0100',
    '2026-11-21T05:00:00.Z',
    '0042-01-01T00:00:00Z',
    '+002026-11-21T05:00:00Z',
    'Sat, 21 Nov 2026 05:00:00 GMT',
    `2026-11-21T05:00:00.${'1'.repeat(100)}Z`,
    '',
  ];
  it.each(refused)('%j is none', (text) => {
    expect(parseTimestamp(text)).toBeUndefined();
  });

  it('in every offset names the same instant', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: Date.parse('1971-01-01'), max: Date.parse('2099-01-01') }),
        fc.integer({ min: -23 * 60, max: 23 * 60 }),
        (instantMs, offsetMinutes) => {
          const local = new Date(instantMs + offsetMinutes * 60_000).toISOString().slice(0, -1);
          const hours = String(Math.trunc(Math.abs(offsetMinutes) / 60)).padStart(2, '0');
          const minutes = String(Math.abs(offsetMinutes) % 60).padStart(2, '0');
          expect(parseTimestamp(`${local}${offsetMinutes < 0 ? '-' : '+'}${hours}:${minutes}`)).toBe(instantMs);
        },
      ),
    );
  });
});

describe('the fingerprint', () => {
  const of = (overrides: Record<string, unknown>): string => fingerprintOf(parsed(overrides)).toString('hex');

  it('is the same for the same content in another form', () => {
    const plain = of({ quantity: '1', properties: { a: 1, b: 'x' } });
    expect(of({ quantity: 1, properties: { b: 'x', a: 1 } })).toBe(plain);
    expect(of({ quantity: '1.000', properties: { a: 1, b: 'x' } })).toBe(plain);
    expect(of({ properties: { a: 1, b: 'x' }, occurredAt: '2026-11-21T06:00:00+01:00' })).toBe(plain);
    expect(of({ properties: { a: 1, b: 'x' }, occurredAt: '2026-11-21T05:00:00.0009Z' })).toBe(plain);
    expect(of({ properties: {} })).toBe(of({}));
  });

  it('differs for other content', () => {
    const contents = [
      {},
      { quantity: '2' },
      { eventType: 'other' },
      { occurredAt: '2026-11-21T05:00:00.001Z' },
      { userId: 'u' },
      { properties: { a: 1 } },
      { properties: { a: '1' } },
      { properties: { a: true } },
      { properties: { a: 'true' } },
      { properties: { a: 's:x', b: 'y' } },
      { properties: { a: 's:x,b:s:y' } },
    ];
    expect(new Set(contents.map(of)).size).toBe(contents.length);
    expect(of({ quantity: '2' })).toHaveLength(32);
  });
});

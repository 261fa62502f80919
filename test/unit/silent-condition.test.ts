import { describe, expect, it } from 'vitest';
import {
  describeSilentCondition,
  findSilentConditions,
  type SeenValue,
  valuesToLookFor,
} from '../../src/usage/silent-condition.ts';
import type { PropertyValue } from '../../src/meters/property.ts';

const number = (text: string): PropertyValue => ({ number: text });
const meter = (...values: PropertyValue[]) => ({
  key: 'ok',
  eventType: 'request',
  where: [{ property: 'status', in: values }],
});
const seen = (...values: PropertyValue[]): SeenValue[] =>
  values.map((value) => ({ eventType: 'request', property: 'status', value }));

describe('a value of a meter’s where', () => {
  it.each<[string, PropertyValue, PropertyValue]>([
    ['a text', '200', number('200')],
    ['a number', number('200'), '200'],
    ['a negative number', number('-1.5'), '-1.5'],
    ['a boolean', true, 'true'],
    ['the text of a boolean', 'false', false],
  ])('that is %s is told of when events have it as another type alone', (_name, wanted, other) => {
    expect(findSilentConditions([meter(wanted)], seen(other))).toEqual([
      { meter: 'ok', property: 'status', wanted, seen: other },
    ]);
    // What is looked for holds both.
    expect(valuesToLookFor([meter(wanted)])).toEqual([wanted, other]);
  });

  it('is no matter once it matched, where both types are counted, or where no event has it', () => {
    expect(findSilentConditions([meter('200')], seen('200', number('200')))).toEqual([]);
    expect(findSilentConditions([meter('200', number('200'))], seen(number('200')))).toEqual([]);
    expect(findSilentConditions([meter('200')], seen(number('404'), '201'))).toEqual([]);
    expect(findSilentConditions([meter('eu', '1e3', '', '-0')], seen(number('1000'), number('0')))).toEqual([]);
    const elsewhere: SeenValue = { eventType: 'login', property: 'status', value: number('200') };
    expect(findSilentConditions([meter('200')], [elsewhere])).toEqual([]);
  });

  it('is told of with both types', () => {
    const [found] = findSilentConditions([meter('200')], seen(number('200')));
    expect(found && describeSilentCondition(found)).toBe(
      '`where` counts properties.status = "200", and recent events have 200 instead (a number, not a text): they are not counted',
    );
  });
});

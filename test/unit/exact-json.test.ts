import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JSON_DEPTH_MAX, parseJson, repeatedNames } from '../../src/platform/exact-json.ts';

describe('exact JSON', () => {
  it('is everything that JSON.parse reads and that names nothing twice', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 6 }), fc.constantFrom(undefined, 1, '\t'), (text, space) => {
        const value = JSON.parse(text) as unknown;
        // Written again, since the generator itself may repeat a name.
        const written = JSON.stringify(value, null, space);
        expect(parseJson(written)).toEqual({ value, isExact: true });
      }),
    );
  });

  it.each<[text: string, path: string[]]>([
    ['{"a":1,"a":2}', ['a']],
    ['{"a":1,"\\u0061":2}', ['a']],
    ['{"a" : 1 , "a"\n:2}', ['a']],
    ['{"":1,"":2}', ['']],
    ['{"p":{"x":1,"y":2,"x":3}}', ['p', 'x']],
    ['{"p":[0,{"x":":","x":"\\":"}]}', ['p', '1', 'x']],
    ['{"__proto__":1,"__proto__":2}', ['__proto__']],
    ['{"a":{"b":1},"a":{"b":1}}', ['a']],
    ['{"a:b":"c:d","a:b":"\\\\"}', ['a:b']],
  ])('tells of %s that a name is repeated, and where', (text, path) => {
    expect(parseJson(text)).toMatchObject({ isExact: false });
    expect(repeatedNames(text, 0).parts).toMatchObject([{ path, index: 0, text }]);
  });

  it.each([
    '{"a":":","b":"\\":"}',
    '{"time":"2026-11-21T05:00:00Z"}',
    '[{"a":1},{"a":1}]',
    '":"',
    '{"a":{"a":{"a":1}}}',
  ])('does not take %s for a repetition', (text) => {
    expect(parseJson(text)).toEqual({ value: JSON.parse(text), isExact: true });
    expect(repeatedNames(text, 0)).toEqual({ outside: undefined, parts: [] });
  });

  it('names each part with a repetition by its position and as it was sent', () => {
    const bad = '{"a":1,"p":{"x":1,"x":2},"a":3}';
    const array = `[{"a":1}, 5, ${bad} ,[[]],${bad}]`;
    const parts = [2, 4].map((index) => ({ index, path: ['p', 'x'], text: bad }));
    expect(repeatedNames(array, 1)).toMatchObject({ outside: undefined, parts });
    expect(repeatedNames(`{"events":${array}}`, 2)).toMatchObject({ outside: undefined, parts });
    expect(repeatedNames(`{"events":[],"events":${array}}`, 2).outside).toEqual({ name: 'events', path: ['events'] });
  });

  it('is not parsed when it nests too deep, whatever stands between its brackets', () => {
    const nested = (opening: string, depth: number): string => opening.repeat(depth);
    for (const opening of ['[', '{"a":', '{"]":', '[0,', '["}",']) {
      expect(parseJson(nested(opening, 100_000))).toEqual({ fault: 'too-deep' });
    }
    expect(parseJson('['.repeat(JSON_DEPTH_MAX) + ']'.repeat(JSON_DEPTH_MAX))).toHaveProperty('value');
    expect(parseJson('['.repeat(JSON_DEPTH_MAX + 1) + ']'.repeat(JSON_DEPTH_MAX + 1))).toEqual({ fault: 'too-deep' });
    expect(parseJson(`[${'[],'.repeat(1_000)}[]]`)).toHaveProperty('value');
    expect(parseJson(JSON.stringify('['.repeat(1_000)))).toHaveProperty('value');
  });

  it('is not made of what is no JSON', () => {
    for (const text of ['', '{', '"', '"\\', '{"a":1,}', ':::', 'undefined']) {
      expect(parseJson(text)).toEqual({ fault: 'not-json' });
    }
  });
});

import type { SeededRandom } from '../../../packages/stripe-double/src/random.ts';
import type { JsonSchema } from './open-api.ts';

/** Texts among which one matches most patterns and means something to most fields. */
const TEXTS = [
  'acme',
  'globex',
  'calls',
  'peak',
  'api.call',
  'unit',
  'cus_NffrFeUfNV2Hib',
  'userId',
  'quantity',
  'properties.size',
  '2026-11-21T05:00:00Z',
  '2026-11-01T00:00:00.000Z',
  '2026-11-21T06:00:00+01:00',
  '2026-11',
  '2026-11-21',
  '1',
  '50',
  '1000',
  '12.5',
  '-3.25',
  '0',
  'Europe/Berlin',
  'eur',
  'ada@example.com',
  'true',
  'ada',
  'why not',
  'evt_1NG8Du2eZvKYlo2CUI79vXWy',
  'in_1MtHbELkdIwHu7ixl4OzzPMv',
  '3f2a6c1e-54b7-4c5e-9a53-0d6a3b8d7f10',
  'W10',
];
/** What a field was not made for. */
const HOSTILE_TEXTS = [
  '',
  ' ',
  ' acme',
  'acme\u00a0',
  '.',
  '..',
  '%2e%2e',
  '../../etc/passwd',
  '\u0000',
  'a\u0000b',
  '\u001f',
  '\u2028',
  '\ud800',
  '\udc00x',
  '\ufffd',
  '\ufeff',
  '\u202eabc',
  '𝒜'.repeat(70),
  'ä'.repeat(200),
  'x'.repeat(5_000),
  '$gt',
  '__proto__',
  'constructor',
  '{"$ne":1}',
  'null',
  'NaN',
  '1e400',
  '-0',
  '0x10',
  '9'.repeat(400),
  '1e-7',
  '9999-12-31T23:59:59Z',
  '0000-01-01T00:00:00Z',
  '2026-02-30T00:00:00Z',
  '2016-12-31T23:59:60Z',
  '+275760-09-13',
  'cus_',
  "'; drop table usage; --",
  '<script>',
  'a/b',
  'a?b#c',
  '%',
  '%zz',
  'bnVsbA',
  'eyJhIjoxfQ',
  'W251bGwsbnVsbF0',
];
const HOSTILE_VALUES: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  1e21,
  5e-324,
  -1e308,
  2 ** 53 + 2,
  [],
  {},
  [[]],
  [null],
  { $gt: '' },
  { toString: 1 },
  { length: -1 },
  JSON.parse('{"__proto__":{"a":1}}') as unknown,
  Array.from({ length: 2_000 }, () => 1),
];
const LENGTH_MAX = 4;
const DEPTH_MAX = 6;

/** Makes values for schemas, by seed; what a value is made of may have been seen in an answer before. */
export class JsonValues {
  readonly #random: SeededRandom;
  /** Values by the name of the field or parameter under which they were seen. */
  readonly #seen = new Map<string, string[]>();

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  /** Remembers the texts of an answer: an id that exists opens what is behind it. */
  learn(value: unknown, name = ''): void {
    if (typeof value === 'string' && value !== '') this.#remember(name, value);
    else if (Array.isArray(value)) for (const item of value.slice(0, 5)) this.learn(item, name);
    else if (typeof value === 'object' && value !== null) {
      for (const [key, member] of Object.entries(value)) this.learn(member, key);
    }
  }

  #remember(name: string, value: string): void {
    const values = this.#seen.get(name) ?? [];
    if (values.includes(value)) return;
    values.push(value);
    if (values.length > 50) values.shift();
    this.#seen.set(name, values);
  }

  chance(probability: number): boolean {
    return this.#random.next() < probability;
  }

  whole(below: number): number {
    return Math.floor(this.#random.next() * below);
  }

  pick<T>(values: readonly T[]): T {
    return values[this.whole(values.length)] as T;
  }

  /** A value that matches a schema, as far as this can tell. */
  valid(schema: JsonSchema, name = '', depth = 0): unknown {
    if (schema.const !== undefined) return schema.const;
    if (schema.enum !== undefined) return this.pick(schema.enum);
    const branches = schema.anyOf ?? schema.oneOf;
    if (branches !== undefined) return this.valid(this.pick(branches), name, depth);
    if (schema.type === 'object') return this.#object(schema, depth);
    if (schema.type === 'array') return this.#array(schema, name, depth);
    if (schema.type === 'string') return this.#text(schema, name);
    if (schema.type === 'integer' || schema.type === 'number') return this.#number(schema);
    if (schema.type === 'boolean') return this.chance(0.5);
    if (schema.type === 'null') return null;
    return this.pick<unknown>(['x', 1, true, null]);
  }

  #object(schema: JsonSchema, depth: number): Record<string, unknown> {
    const made: Record<string, unknown> = {};
    for (const [name, member] of Object.entries(schema.properties ?? {})) {
      const isNeeded = schema.required?.includes(name) === true;
      if (isNeeded || (depth < DEPTH_MAX && this.chance(0.4))) made[name] = this.valid(member, name, depth + 1);
    }
    const others = Object.values(schema.patternProperties ?? {})[0] ?? schema.additionalProperties;
    if (typeof others === 'object' && this.chance(0.5)) {
      made[this.pick(['plan', 'size', 'region'])] = this.valid(others, '', depth + 1);
    }
    return made;
  }

  #array(schema: JsonSchema, name: string, depth: number): unknown[] {
    const least = schema.minItems ?? 0;
    const length = depth >= DEPTH_MAX ? least : Math.max(least, this.whole(LENGTH_MAX));
    return Array.from({ length }, () => this.valid(schema.items ?? {}, name, depth + 1));
  }

  #text(schema: JsonSchema, name: string): string {
    const pattern = schema.pattern === undefined ? undefined : new RegExp(schema.pattern, 'u');
    const fits = (text: string): boolean =>
      pattern?.test(text) !== false &&
      text.length >= (schema.minLength ?? 0) &&
      text.length <= (schema.maxLength ?? Number.POSITIVE_INFINITY);
    const seen = (this.#seen.get(name) ?? []).filter(fits);
    if (seen.length > 0 && this.chance(0.7)) return this.pick(seen);
    const examples = (schema.examples ?? []).filter((example) => typeof example === 'string');
    const candidates = [...examples, ...TEXTS].filter(fits);
    return candidates.length > 0 ? this.pick(candidates) : 'a'.repeat(schema.minLength ?? 1);
  }

  #number({ type, minimum = 0, maximum = 1_000 }: JsonSchema): number {
    const value = minimum + this.#random.next() * (maximum - minimum);
    return type === 'integer' ? Math.floor(value) : Number(value.toFixed(3));
  }

  hostileText(): string {
    return this.pick(HOSTILE_TEXTS);
  }

  hostileValue(): unknown {
    return this.chance(0.5) ? this.hostileText() : this.pick(HOSTILE_VALUES);
  }

  /** The same value with one thing wrong somewhere in it. */
  mutated(value: unknown, depth = 0): unknown {
    if (typeof value !== 'object' || value === null || depth >= DEPTH_MAX) return this.hostileValue();
    if (Array.isArray(value)) {
      if (value.length === 0 || this.chance(0.2)) return [...(value as unknown[]), this.hostileValue()];
      const at = this.whole(value.length);
      return (value as unknown[]).map((item, index) => (index === at ? this.mutated(item, depth + 1) : item));
    }
    const fields = { ...(value as Record<string, unknown>) };
    const names = Object.keys(fields);
    const roll = this.whole(4);
    const name =
      names.length === 0 || roll === 0 ? this.pick(['dryrun', 'extra', '__proto_', '$where']) : this.pick(names);
    if (roll === 1) delete fields[name];
    else fields[name] = roll === 2 ? this.mutated(fields[name], depth + 1) : this.hostileValue();
    return fields;
  }
}

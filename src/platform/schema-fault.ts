import type { TSchema } from 'typebox';
import { Value } from 'typebox/value';
import { escapePointer, shownName } from './json-pointer.ts';
import { meantHint } from './nearest-name.ts';

/** What a JSON Schema validator found, in the form in which ajv tells it. */
export interface SchemaError {
  readonly keyword: string;
  /** A JSON Pointer into what was validated. */
  readonly instancePath: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly message?: string | undefined;
  /** The schema that the keyword stands in. */
  readonly parentSchema?: unknown;
  /** The value that was refused. */
  readonly data?: unknown;
}

/** One thing to correct. */
export interface SchemaFault {
  readonly pointer: string;
  readonly detail: string;
}

interface SchemaNode {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, unknown>>;
}

const FAULTS_MAX = 20;
/** Keywords that only say that something below them was refused, which is told by itself. */
const ENCLOSING = new Set(['anyOf', 'oneOf', 'boolean', 'if']);

/**
 * Says of each fault what was expected: a field that is not known is told with the known ones and the nearest name, a
 * value outside a list with the list. What several branches of a choice say of one value becomes one fault.
 * @returns at least one fault, at most 20.
 */
export function toSchemaFaults(errors: readonly SchemaError[]): readonly SchemaFault[] {
  const faults = new Map<string, SchemaFault>();
  const add = (pointer: string, detail: string): void => {
    if (!faults.has(pointer)) faults.set(pointer, { pointer, detail });
  };
  for (const error of errors) {
    if (error.keyword === 'additionalProperties') addUnknown(error, add);
    else if (error.keyword === 'required') addMissing(error, add);
    else if (isOfChoice(error)) add(error.instancePath, choiceDetail(error, errors));
    else if (!ENCLOSING.has(error.keyword)) add(error.instancePath, plainDetail(error));
  }
  if (faults.size > 0) return [...faults.values()].slice(0, FAULTS_MAX);
  const [first] = errors;
  return [{ pointer: first?.instancePath ?? '', detail: `${first?.message ?? 'is not valid'}.` }];
}

/** Every fault of a value by a schema; none when it matches. */
export function faultsOf(schema: TSchema, value: unknown): readonly SchemaFault[] {
  if (Value.Check(schema, value)) return [];
  return toSchemaFaults(Value.Errors(schema, value).map((error) => withPlace(schema, value, error)));
}

function addUnknown(error: SchemaError, add: (pointer: string, detail: string) => void): void {
  const known = Object.keys((error.parentSchema as SchemaNode | undefined)?.properties ?? {});
  for (const name of namesIn(error.params['additionalProperty'] ?? error.params['additionalProperties'])) {
    const shown = shownName(name);
    const list = known.length === 0 ? 'Nothing is taken here.' : `Known are ${known.join(', ')}.`;
    const detail = `"${shown}" is not known here.${meantHint(name, known)} ${list}`;
    add(`${error.instancePath}/${escapePointer(shown)}`, detail);
  }
}

function addMissing(error: SchemaError, add: (pointer: string, detail: string) => void): void {
  const { missingProperty, requiredProperties } = error.params;
  for (const name of namesIn(missingProperty ?? requiredProperties)) {
    add(`${error.instancePath}/${name}`, `${name} is required.`);
  }
}

function namesIn(value: unknown): string[] {
  const values: readonly unknown[] = Array.isArray(value) ? value : [value];
  return values.filter((name) => typeof name === 'string');
}

function isOfChoice({ keyword }: SchemaError): boolean {
  return keyword === 'const' || keyword === 'enum' || keyword === 'type';
}

/** Everything that could stand at this place, from all branches. */
function choiceDetail({ instancePath, data }: SchemaError, errors: readonly SchemaError[]): string {
  const here = errors.filter((error) => error.instancePath === instancePath);
  const values = here.flatMap(({ params }) => {
    if ('allowedValue' in params) return [params['allowedValue']];
    return Array.isArray(params['allowedValues']) ? (params['allowedValues'] as unknown[]) : [];
  });
  const types = here.filter(({ keyword }) => keyword === 'type').flatMap(({ params }) => namesIn(params['type']));
  const texts = [...new Set(values.map((value) => (typeof value === 'string' ? value : JSON.stringify(value))))];
  const others = [...new Set(types)].filter((type) => texts.length === 0 || type !== 'string');
  const expected = texts.length === 0 ? others : [...texts, ...others];
  const hint = typeof data === 'string' ? meantHint(data, texts) : '';
  return `${expected.length > 1 ? 'must be one of' : 'must be'} ${expected.join(', ')}.${hint}`;
}

function plainDetail({ message, parentSchema }: SchemaError): string {
  const description = (parentSchema as SchemaNode | undefined)?.description;
  const said = message ?? 'is not valid';
  return description === undefined ? `${said}.` : `${said} (${description.replace(/\.$/, '')}).`;
}

/** An error of the validator with the schema and the value that it is about. */
function withPlace(schema: TSchema, input: unknown, error: SchemaError & { schemaPath: string }): SchemaError {
  const parentSchema = valueAt(schema, error.schemaPath.replace(/^#/, ''));
  return { ...error, parentSchema, data: valueAt(input, error.instancePath) };
}

function valueAt(from: unknown, pointer: string): unknown {
  let value = from;
  for (const token of pointer.split('/').slice(1)) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<string, unknown>)[token.replaceAll('~1', '/').replaceAll('~0', '~')];
  }
  return value;
}

import { usageError } from './command-error.ts';
import { readTime, TIME_FORMATS, type TimeFormat } from './foreign-time.ts';

/** The fields of a usage event that a file can fill, besides its properties. */
export const EVENT_FIELDS = [
  'idempotencyKey',
  'customerId',
  'eventType',
  'occurredAt',
  'quantity',
  'userId',
  'properties',
] as const;
export type EventField = (typeof EVENT_FIELDS)[number];

/** Where the value of a rule goes: a field of the event, or one of its properties. */
export type MapTarget =
  { readonly field: EventField } | { readonly property: string; readonly type: 'string' | 'number' | 'boolean' };

/** How one field of an event is filled. */
export interface FieldRule {
  readonly target: MapTarget;
  /** Column of a CSV file, or member of a JSON object (`data.tokens` is a member of a member). */
  readonly column?: string;
  /** Of a time that is not RFC 3339. */
  readonly format?: TimeFormat;
  /** What stands where there is no column, or nothing in it. */
  readonly constant?: string;
}

const RULE = /^([A-Za-z]+(?:\.[A-Za-z0-9_-]{1,64}(?::(?:string|number|boolean))?)?)(:?=)([\s\S]*)$/;
const PROPERTY = /^properties\.([A-Za-z0-9_-]{1,64})(?::(string|number|boolean))?$/;
const FORMAT = new RegExp(`^(.*):(${TIME_FORMATS.join('|')})$`, 's');
const JSON_NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?$/;
const ADVICE =
  'Write field=column or field:=constant, for example --map customerId=account_id --map occurredAt=created:unix ' +
  '--map eventType:=api_call (docs/import.md).';

/**
 * Reads the rules of `--map`: `field=column`, `occurredAt=column:unix` (or another format of a time), and
 * `field:=constant`. A column and a constant for one field: the constant stands where the column is empty.
 * @throws CommandError on a rule that cannot be, or two of a kind for one field.
 */
export function parseFieldMap(texts: readonly string[]): FieldRule[] {
  const rules = new Map<string, FieldRule>();
  for (const text of texts) {
    const [, name = '', sign, value = ''] = RULE.exec(text) ?? [];
    const target = readTarget(name);
    if (target === undefined || value === '') throw usageError(`--map ${text} is not possible`, ADVICE);
    const key = targetName(target);
    const known = rules.get(key);
    const next = sign === ':=' ? { constant: value } : readSource(text, target, value);
    if (known !== undefined && Object.keys(next).some((part) => part in known)) {
      throw usageError(`--map says twice what ${key} is`, 'Leave one of them out.');
    }
    rules.set(key, { ...known, ...next, target });
  }
  return [...rules.values()];
}

/** A target by its name in a header or a rule: `quantity`, `properties.plan`, `properties.size:number`. */
export function readTarget(name: string): MapTarget | undefined {
  const field = EVENT_FIELDS.find((known) => known === name);
  if (field !== undefined) return { field };
  const [, property, type = 'string'] = PROPERTY.exec(name) ?? [];
  if (property === undefined || property === '__proto__') return undefined;
  return { property, type: type as 'string' | 'number' | 'boolean' };
}

/** The name of a target, without the type of a property. */
export function targetName(target: MapTarget): string {
  return 'field' in target ? target.field : `properties.${target.property}`;
}

function readSource(text: string, target: MapTarget, value: string): { column: string; format?: TimeFormat } {
  const [, column, format] = FORMAT.exec(value) ?? [];
  if (column === undefined || format === undefined) return { column: value };
  if (targetName(target) !== 'occurredAt' || column === '') throw usageError(`--map ${text} is not possible`, ADVICE);
  return { column, format: format as TimeFormat };
}

/** A value of a file as it is found: a cell of CSV is a string. */
export type SourceValue = string | number | boolean | object | null | undefined;

/**
 * The JSON text of one event. Numbers are written as they stand, so no digit is lost. An empty cell leaves an optional
 * field out; a required one, and a quantity that has a rule, is written empty, to be refused rather than guessed.
 * @param read the value of a rule's column.
 */
export function writeEvent(rules: readonly FieldRule[], read: (rule: FieldRule) => SourceValue): string {
  const fields: string[] = [];
  const properties: string[] = [];
  for (const rule of rules) {
    const found = rule.column === undefined ? undefined : read(rule);
    const isEmpty = found === undefined || found === null || found === '';
    const text = writeValue(rule, isEmpty ? rule.constant : found);
    if (text === undefined) continue;
    const { target } = rule;
    if ('property' in target) properties.push(`${JSON.stringify(target.property)}:${text}`);
    else fields.push(`"${target.field}":${text}`);
  }
  return `{${withProperties(fields, properties).join(',')}}`;
}

/** Beside a whole object of properties, single ones go in front of its own. What is no object stays, to be refused. */
function withProperties(fields: readonly string[], properties: readonly string[]): string[] {
  const prefix = '"properties":';
  const whole = fields.find((field) => field.startsWith(prefix))?.slice(prefix.length);
  if (properties.length === 0 || whole?.startsWith('{') === false) return [...fields];
  const inner = whole?.slice(1, -1).trim() ?? '';
  const all = inner === '' ? properties : [...properties, inner];
  return [...fields.filter((field) => !field.startsWith(prefix)), `${prefix}{${all.join(',')}}`];
}

function writeValue({ target, format }: FieldRule, value: SourceValue): string | undefined {
  const isEmpty = value === undefined || value === null || value === '';
  if ('property' in target) return isEmpty ? undefined : writeProperty(target.type, value);
  if (target.field === 'properties') return isEmpty ? undefined : writeProperties(value);
  if (isEmpty) return target.field === 'userId' ? undefined : '""';
  if (target.field === 'occurredAt' && format !== undefined) return JSON.stringify(readTime(scalarText(value), format));
  if (typeof value !== 'number' || target.field === 'quantity') return JSON.stringify(value);
  // A number as an id, where no digit of it was lost in reading; else it is refused as it stands.
  return Number.isSafeInteger(value) ? `"${value}"` : JSON.stringify(value);
}

function writeProperty(type: 'string' | 'number' | 'boolean', value: SourceValue): string {
  if (typeof value !== 'string') return JSON.stringify(value);
  const isBare =
    (type === 'number' && JSON_NUMBER.test(value)) || (type === 'boolean' && /^(?:true|false)$/.test(value));
  return isBare ? value : JSON.stringify(value);
}

/** A cell with a JSON object is written as it stands; anything else goes as text, to be refused. */
function writeProperties(value: SourceValue): string {
  if (typeof value !== 'string') return JSON.stringify(value);
  try {
    const parsed = JSON.parse(value) as unknown;
    const isObject = typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed);
    return isObject ? value.trim() : JSON.stringify(value);
  } catch {
    return JSON.stringify(value);
  }
}

function scalarText(value: SourceValue): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

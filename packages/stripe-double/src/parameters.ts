import { invalidRequest } from './answer.ts';
import { readDigits } from './decimal.ts';
import type { FormTree, FormValue } from './form.ts';

/** What one parameter of a route may be. Lengths are characters. */
export type Field =
  | { kind: 'text'; max?: number; required?: true }
  | { kind: 'integer'; min?: number; max?: number; required?: true }
  | { kind: 'choice'; of: readonly string[]; required?: true }
  | { kind: 'group'; fields: Fields; required?: true }
  | { kind: 'map'; required?: true }
  | { kind: 'boolean' }
  /** An exact integer, or bounds under `[gt]`, `[gte]`, `[lt]` and `[lte]`. */
  | { kind: 'range' }
  /** A plain decimal number, as text. */
  | { kind: 'decimal' }
  /** `name[0][…]`: a list of groups. */
  | { kind: 'groups'; fields: Fields; required?: true }
  /** `name[]` or `name[0]`: a list of texts. */
  | { kind: 'list' };
export type Fields = Readonly<Record<string, Field>>;

/** Every route takes `expand[]`. */
export const expand: Fields = { expand: { kind: 'list' } };

const bound: Field = { kind: 'integer' };
const boundFields: Fields = { gt: bound, gte: bound, lt: bound, lte: bound };

/** The parameters of every list (Stripe docs, Pagination). */
export const pageFields: Fields = {
  limit: { kind: 'integer', min: 1, max: 100 },
  starting_after: { kind: 'text' },
  ending_before: { kind: 'text' },
  ...expand,
};

/** Refuses, with Stripe's messages and codes, what the fields do not allow (Stripe docs, Error codes). */
export function checkParameters(tree: FormTree, fields: Fields, parent = ''): void {
  for (const key of tree.keys()) {
    if (Object.hasOwn(fields, key)) continue;
    const param = qualify(parent, key);
    throw invalidRequest(`Received unknown parameter: ${param}`, { code: 'parameter_unknown', param });
  }
  for (const [key, field] of Object.entries(fields)) {
    const value = tree.get(key);
    if (value !== undefined) checkValue(value, field, qualify(parent, key));
    else if ('required' in field) throw missing(qualify(parent, key));
  }
}

function checkValue(value: FormValue, field: Field, param: string): void {
  switch (field.kind) {
    case 'text':
      return checkText(asText(value, param), field, param);
    case 'integer':
      return checkInteger(asText(value, param), field, param);
    case 'choice':
      return checkChoice(asText(value, param), field.of, param);
    case 'group':
      return checkParameters(asTree(value, param), field.fields, param);
    case 'map':
      if (value === '' && field.required === undefined) return;
      for (const [key, entry] of asTree(value, param)) asText(entry, qualify(param, key));
      return;
    case 'boolean':
      return checkChoice(asText(value, param), ['true', 'false'], param);
    case 'decimal':
      return checkDecimal(asText(value, param), param);
    case 'range':
      if (typeof value === 'string') return checkInteger(value, {}, param);
      return checkParameters(value, boundFields, param);
    case 'groups':
      for (const [index, entry] of asTree(value, param)) {
        checkParameters(asTree(entry, qualify(param, index)), field.fields, qualify(param, index));
      }
      return;
    case 'list':
      return;
  }
}

function checkText(text: string, field: { max?: number; required?: true }, param: string): void {
  if (text === '' && field.required) throw emptyText(param);
  if (text.length > (field.max ?? 5_000)) {
    const excerpt = `${text.slice(0, 20)}...${text.slice(-5)}`;
    throw invalidRequest(`Invalid string: ${excerpt}; must be at most ${field.max ?? 5_000} characters`, { param });
  }
}

function checkInteger(text: string, field: { min?: number; max?: number }, param: string): void {
  const value = Number(text);
  const code = 'parameter_invalid_integer';
  if (!/^-?\d+$/.test(text) || !Number.isSafeInteger(value)) {
    throw invalidRequest(`Invalid integer: ${text}`, { code, param });
  }
  if (field.min !== undefined && value < field.min) {
    throw invalidRequest(`This value must be greater than or equal to ${field.min}.`, { code, param });
  }
  if (field.max !== undefined && value > field.max) {
    throw invalidRequest(`This value must be less than or equal to ${field.max}.`, { code, param });
  }
}

function checkDecimal(text: string, param: string): void {
  if (readDigits(text) === undefined) throw invalidRequest(`Invalid decimal: ${text}`, { param });
}

function checkChoice(text: string, choices: readonly string[], param: string): void {
  if (choices.includes(text)) return;
  throw invalidRequest(`Invalid ${param}: must be one of ${choices.join(', ')}`, { param });
}

function asText(value: FormValue, param: string): string {
  if (typeof value === 'string') return value;
  throw invalidRequest(`Invalid string: ${param} must be a string, not an object`, { param });
}

function asTree(value: FormValue, param: string): FormTree {
  if (typeof value !== 'string') return value;
  throw invalidRequest(`Invalid object: ${param} must be an object`, { param });
}

function qualify(parent: string, key: string): string {
  return parent === '' ? key : `${parent}[${key}]`;
}

function missing(param: string): Error {
  return invalidRequest(`Missing required param: ${param}.`, { code: 'parameter_missing', param });
}

function emptyText(param: string): Error {
  const message =
    `You passed an empty string for '${param}'. We assume empty values are an attempt to unset a parameter; ` +
    `however '${param}' cannot be unset. You should remove '${param}' from your request or supply a non-empty value.`;
  return invalidRequest(message, { code: 'parameter_invalid_empty', param });
}

/** Reads parameters that `checkParameters` has let pass. */
export class Parameters {
  readonly #tree: FormTree;

  constructor(tree: FormTree) {
    this.#tree = tree;
  }

  has(name: string): boolean {
    return this.#tree.has(name);
  }

  /** The text, or `undefined` where it is absent or, being empty, unset. */
  text(name: string): string | undefined {
    const value = this.#tree.get(name);
    return typeof value === 'string' && value !== '' ? value : undefined;
  }

  /** The text of a required parameter. */
  requiredText(name: string): string {
    const text = this.text(name);
    if (text === undefined) throw missing(name);
    return text;
  }

  integer(name: string): number | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : Number(text);
  }

  requiredInteger(name: string): number {
    return Number(this.requiredText(name));
  }

  /** The truth value, or `undefined` where it is absent. */
  boolean(name: string): boolean | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : text === 'true';
  }

  /** Whether `value` lies where a `range` parameter allows; anything does where it is absent. */
  rangeHas(name: string, value: number): boolean {
    const given = this.#tree.get(name);
    if (given === undefined || given === '') return true;
    if (typeof given === 'string') return value === Number(given);
    const { gt, gte, lt, lte } = Object.fromEntries(given) as Record<string, string | undefined>;
    if (gt !== undefined && !(value > Number(gt))) return false;
    if (gte !== undefined && !(value >= Number(gte))) return false;
    if (lt !== undefined && !(value < Number(lt))) return false;
    return lte === undefined || value <= Number(lte);
  }

  /** The texts of a list; none where it is absent. */
  list(name: string): string[] {
    const value = this.#tree.get(name);
    if (!(value instanceof Map)) return [];
    return [...value.values()].filter((entry) => typeof entry === 'string');
  }

  /** The groups of a list, in its order; none where it is absent. */
  groups(name: string): Parameters[] {
    const value = this.#tree.get(name);
    if (!(value instanceof Map)) return [];
    return [...value.values()].map((entry) => new Parameters(entry instanceof Map ? entry : new Map()));
  }

  /** The parameters under `name[…]`; none where it is absent. */
  group(name: string): Parameters {
    const value = this.#tree.get(name);
    return new Parameters(value instanceof Map ? value : new Map());
  }

  /** Whether the parameter was given as an empty string, which unsets it. */
  isUnset(name: string): boolean {
    return this.#tree.get(name) === '';
  }

  /** The texts under `name[…]`. */
  map(name: string): Map<string, string> {
    const value = this.#tree.get(name);
    return value instanceof Map ? (value as Map<string, string>) : new Map();
  }
}

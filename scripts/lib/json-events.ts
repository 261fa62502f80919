import { EVENT_FIELDS, type FieldRule, type SourceValue, targetName, writeEvent } from './field-map.ts';

/** The rules for lines of JSON: those that were asked for, and fields that stand in the line under their own names. */
export function jsonRules(map: readonly FieldRule[]): FieldRule[] {
  const mapped = new Set(map.map(({ target }) => targetName(target)));
  const own = EVENT_FIELDS.filter((field) => !mapped.has(field));
  return [...own.map((field) => ({ target: { field }, column: field })), ...map];
}

/**
 * The JSON text of the event that the rules make of a line. A line that is no JSON object stays as it is: the daemon
 * says what is wrong with it.
 */
export function mapJsonLine(text: string, rules: readonly FieldRule[]): string {
  const parsed = parse(text);
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return text;
  return writeEvent(rules, ({ column = '' }) => lookUp(parsed as Record<string, SourceValue>, column));
}

/** A member by its name; or, of a name with dots, a member of a member. */
function lookUp(object: Record<string, SourceValue>, path: string): SourceValue {
  if (Object.hasOwn(object, path)) return object[path];
  for (let dot = path.indexOf('.'); dot > 0; dot = path.indexOf('.', dot + 1)) {
    const inner = Object.hasOwn(object, path.slice(0, dot)) ? object[path.slice(0, dot)] : undefined;
    if (typeof inner !== 'object' || inner === null) continue;
    const found = lookUp(inner as Record<string, SourceValue>, path.slice(dot + 1));
    if (found !== undefined) return found;
  }
  return undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

import { usageError } from './command-error.ts';
import type { CsvRecord } from './csv.ts';
import { EVENT_FIELDS, type FieldRule, readTarget, targetName, writeEvent } from './field-map.ts';

const REQUIRED = ['idempotencyKey', 'customerId', 'eventType', 'occurredAt'];
const COLUMNS = `${EVENT_FIELDS.filter((field) => field !== 'properties').join(', ')}, properties.<name>[:number|:boolean]`;

/** How the records of a CSV file become events. */
export interface CsvLayout {
  readonly columnCount: number;
  readonly rules: readonly FieldRule[];
  /** By rule: which cell it reads. */
  readonly cellOf: ReadonlyMap<FieldRule, number>;
  /** Columns that no rule reads. */
  readonly ignored: readonly string[];
}

/**
 * What the columns that a CSV header names are for: the fields of a usage event, and `properties.<name>`, which holds
 * text unless it ends in `:number` or `:boolean`. With rules, columns of other names are left out, and every field has
 * to come from somewhere.
 * @throws CommandError on an unknown, repeated or missing column: a misspelt `quantity` must not become 1.
 */
export function readCsvHeader(cells: readonly string[], map: readonly FieldRule[] = []): CsvLayout {
  const names = cells.map((cell) => cell.trim());
  refuseRepeated(names);
  const rules = [...ownRules(names, map), ...map];
  const needed = map.length === 0 ? REQUIRED : [...REQUIRED, 'quantity'];
  const missing = needed.filter((name) => !rules.some(({ target }) => targetName(target) === name));
  if (missing.length > 0) throw missingColumns(missing, names, map.length > 0);
  const cellOf = new Map<FieldRule, number>();
  for (const rule of rules) {
    if (rule.column === undefined) continue;
    const index = names.indexOf(rule.column);
    if (index < 0) throw noSuchColumn(rule.column, names);
    cellOf.set(rule, index);
  }
  const read = new Set(cellOf.values());
  return { columnCount: cells.length, rules, cellOf, ignored: names.filter((_name, index) => !read.has(index)) };
}

/** @throws CommandError when the record has another number of cells than the header. */
export function toEventText(layout: CsvLayout, { line, cells }: CsvRecord): string {
  if (cells.length !== layout.columnCount) {
    throw usageError(
      `line ${line} has ${cells.length} cells and the header ${layout.columnCount}`,
      'Correct the line; a cell with a comma stands in quotes. --delimiter names what stands between cells.',
    );
  }
  return writeEvent(layout.rules, (rule) => cells[layout.cellOf.get(rule) ?? -1]);
}

/** Columns that have the name of what they fill, unless a rule fills it. */
function ownRules(names: readonly string[], map: readonly FieldRule[]): FieldRule[] {
  const mapped = new Set(map.map(({ target }) => targetName(target)));
  const rules: FieldRule[] = [];
  for (const name of names) {
    const target = readTarget(name);
    if (target !== undefined && name !== 'properties') {
      if (!mapped.has(targetName(target))) rules.push({ target, column: name });
    } else if (map.length === 0) {
      throw usageError(
        `the CSV header names an unknown column: ${name}`,
        `Columns are ${COLUMNS}. Files with other columns: --map (docs/import.md).`,
      );
    }
  }
  refuseRepeated(rules.map(({ target }) => targetName(target)));
  return rules;
}

/** Columns without a name may be many. */
function refuseRepeated(names: readonly string[]): void {
  const repeated = names.find((name, index) => name !== '' && names.indexOf(name) !== index);
  if (repeated !== undefined) throw usageError(`the column ${repeated} stands twice in the header`, 'Remove one.');
}

function missingColumns(missing: readonly string[], names: readonly string[], isMapped: boolean): Error {
  return usageError(
    `the CSV header lacks ${missing.join(', ')}`,
    isMapped
      ? `Say where it comes from: --map ${missing[0]}=COLUMN, or --map ${missing[0]}:=CONSTANT. Columns: ${names.join(', ')}.`
      : `The first line names the columns: ${COLUMNS}. Files with other columns: --map (docs/import.md).`,
  );
}

function noSuchColumn(column: string, names: readonly string[]): Error {
  return usageError(`the CSV header has no column ${column}`, `It names ${names.join(', ')}.`);
}

import { usageError } from './command-error.ts';
import type { CsvRecord } from './csv.ts';

const FIELDS = ['idempotencyKey', 'customerId', 'eventType', 'occurredAt', 'quantity', 'userId'] as const;
const REQUIRED: readonly string[] = ['idempotencyKey', 'customerId', 'eventType', 'occurredAt'];
const PROPERTY = /^properties\.([A-Za-z0-9_-]{1,64})(?::(string|number|boolean))?$/;
const JSON_NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?$/;

/** Writes one record's cell into the JSON text of an event; undefined leaves the field out. */
interface CsvColumn {
  readonly name: string;
  readonly property: boolean;
  write(cell: string): string | undefined;
}

/**
 * The columns that a CSV header names: the fields of a usage event, and `properties.<name>`, which holds text unless it
 * ends in `:number` or `:boolean`.
 * @throws CommandError on an unknown, repeated or missing column: a misspelt `quantity` must not become 1.
 */
export function readCsvHeader(cells: readonly string[]): CsvColumn[] {
  const columns = cells.map((cell) => readColumn(cell.replace(/^\uFEFF/, '').trim()));
  const names = columns.map(({ name }) => name);
  const repeated = names.find((name, index) => names.indexOf(name) !== index);
  if (repeated !== undefined) throw usageError(`the column ${repeated} stands twice in the header`, 'Remove one.');
  const missing = REQUIRED.filter((name) => !names.includes(name));
  if (missing.length === 0) return columns;
  throw usageError(
    `the CSV header lacks ${missing.join(', ')}`,
    `The first line names the columns: ${FIELDS.join(', ')}, properties.<name>[:number|:boolean].`,
  );
}

/**
 * The JSON text of one event. Numbers are written as they stand, so no digit is lost. An empty cell leaves an optional
 * field out; an empty quantity is sent as it is, to be refused rather than counted as 1.
 * @throws CommandError when the record has another number of cells than the header.
 */
export function toEventText(columns: readonly CsvColumn[], { line, cells }: CsvRecord): string {
  if (cells.length !== columns.length) {
    throw usageError(
      `line ${line} has ${cells.length} cells and the header ${columns.length}`,
      'Correct the line; a cell with a comma stands in quotes.',
    );
  }
  const fields: string[] = [];
  const properties: string[] = [];
  for (const [index, column] of columns.entries()) {
    const value = column.write(cells[index] ?? '');
    if (value === undefined) continue;
    (column.property ? properties : fields).push(`${JSON.stringify(column.name)}:${value}`);
  }
  if (properties.length > 0) fields.push(`"properties":{${properties.join(',')}}`);
  return `{${fields.join(',')}}`;
}

function readColumn(heading: string): CsvColumn {
  if ((FIELDS as readonly string[]).includes(heading)) {
    const isOptional = heading === 'userId';
    const write = (cell: string): string | undefined => (isOptional && cell === '' ? undefined : JSON.stringify(cell));
    return { name: heading, property: false, write };
  }
  const [, name, kind] = PROPERTY.exec(heading) ?? [];
  if (name === undefined) {
    throw usageError(
      `the CSV header names an unknown column: ${heading}`,
      `Columns are ${FIELDS.join(', ')} and properties.<name>[:number|:boolean].`,
    );
  }
  const isBare = (cell: string): boolean =>
    (kind === 'number' && JSON_NUMBER.test(cell)) || (kind === 'boolean' && /^(?:true|false)$/.test(cell));
  const write = (cell: string): string | undefined =>
    cell === '' ? undefined : isBare(cell) ? cell : JSON.stringify(cell);
  return { name, property: true, write };
}

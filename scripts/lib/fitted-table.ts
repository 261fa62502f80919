import { type Column, renderTable } from './table.ts';

/** Columns and rows of a table that is still to be fitted. */
export interface TableParts {
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly (string | undefined)[])[];
}

const WIDTH = 100;
const GAP = 2;
/** What is left of the last column at least. */
const LAST_WIDTH_MIN = 16;
/** Rows of a table, unless all are asked for. */
const ROWS_SHOWN = 24;

export const left = (heading: string): Column => ({ heading });
export const right = (heading: string): Column => ({ heading, align: 'right' });

/** A table under its title, cut to `ROWS_SHOWN` rows unless all are wanted; nothing where there are no rows. */
export function section(title: string, all: boolean, { columns, rows }: TableParts): string {
  if (rows.length === 0) return '';
  const shown = all ? rows : rows.slice(0, ROWS_SHOWN);
  const rest = rows.length - shown.length;
  const more = rest > 0 ? `\n… and ${rest} more (--all, --json or --csv shows them)` : '';
  return `${title}\n${renderTable(columns, shown)}${more}`;
}

/** Cuts the last column, which holds a description, so that a row fits. An id is never the last column of such a table. */
export function fitLast(columns: readonly Column[], rows: TableParts['rows']): TableParts['rows'] {
  const last = columns.length - 1;
  const widthOf = (index: number): number =>
    Math.max(columns[index]?.heading.length ?? 0, ...rows.map((row) => row[index]?.length ?? 1));
  const others = columns.slice(0, last).reduce((sum, _column, index) => sum + widthOf(index) + GAP, 0);
  const room = Math.max(LAST_WIDTH_MIN, WIDTH - others);
  return rows.map((row) => row.map((cell, index) => (index === last ? cut(cell, room) : cell)));
}

function cut(text: string | undefined, room: number): string | undefined {
  return text === undefined || text.length <= room ? text : `${text.slice(0, room - 1)}…`;
}

/** `2026-11-20T07:00Z` for a whole minute. */
export function shortInstant(text: string): string {
  return text.replace(/:00\.000Z$/, 'Z').replace(/\.000Z$/, 'Z');
}

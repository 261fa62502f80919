const NEEDS_QUOTES = /[",\r\n]/;
/** What spreadsheets take for the beginning of a formula, the full-width forms included. */
const FORMULA_START = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/;
const PLAIN_NUMBER = /^-?\d+(?:\.\d+)?$/;

/**
 * Rows as CSV (RFC 4180, but lines end in a newline alone); an undefined cell is empty. A cell that a spreadsheet would
 * carry out as a formula gets a `'` in front: ids and reasons are written by strangers. A plain negative number is none
 * and stays as it is, so that a column of quantities can be added up.
 */
export function renderCsv(headings: readonly string[], rows: readonly (readonly (string | undefined)[])[]): string {
  return [headings, ...rows].map((row) => row.map((cell) => quote(defuse(cell ?? ''))).join(',')).join('\n');
}

function defuse(cell: string): string {
  return FORMULA_START.test(cell) && !PLAIN_NUMBER.test(cell) ? `'${cell}` : cell;
}

function quote(cell: string): string {
  return NEEDS_QUOTES.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

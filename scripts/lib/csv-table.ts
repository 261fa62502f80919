const NEEDS_QUOTES = /[",\r\n]/;

/** Rows as CSV (RFC 4180, but lines end in a newline alone); an undefined cell is empty. */
export function renderCsv(headings: readonly string[], rows: readonly (readonly (string | undefined)[])[]): string {
  return [headings, ...rows].map((row) => row.map((cell) => quote(cell ?? '')).join(',')).join('\n');
}

function quote(cell: string): string {
  return NEEDS_QUOTES.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

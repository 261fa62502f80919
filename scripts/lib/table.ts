/** A column of a table: its heading, and whether it holds numbers (set flush right). */
export interface Column {
  readonly heading: string;
  readonly align?: 'left' | 'right';
}

const GAP = '  ';

/**
 * Rows as aligned text, headings first; no line ends in a space. A cell that is undefined is a dash, so that "nothing"
 * and "not said" look alike and neither looks like zero.
 */
export function renderTable(columns: readonly Column[], rows: readonly (readonly (string | undefined)[])[]): string {
  const cells = [columns.map(({ heading }) => heading), ...rows.map((row) => row.map((cell) => oneLine(cell ?? '-')))];
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => widthOf(row[index] ?? ''))));
  return cells
    .map((row) =>
      columns
        .map(({ align }, index) => pad(row[index] ?? '', widths[index] ?? 0, align ?? 'left'))
        .join(GAP)
        .trimEnd(),
    )
    .join('\n');
}

/** Foreign text must neither break the table nor speak to the terminal. */
function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]/gu, ' ');
}

function widthOf(text: string): number {
  return Array.from(new Intl.Segmenter().segment(text)).length;
}

function pad(text: string, width: number, align: 'left' | 'right'): string {
  const space = ' '.repeat(width - widthOf(text));
  return align === 'right' ? space + text : text + space;
}

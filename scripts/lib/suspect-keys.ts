import { KEYS_REMEMBERED_MAX, type KeyWatch, type SuspectKeys } from './key-watch.ts';

/** What was noticed of the keys, for `--json`. */
export function suspectsToJson({ repeated, shortened, isComplete }: KeyWatch): object {
  return {
    repeatedKeys: { count: repeated.count, keys: repeated.keys, isComplete },
    shortenedKeys: { count: shortened.count, keys: shortened.keys },
  };
}

/** The same in lines for a person; none when nothing was noticed. */
export function renderSuspects({ repeated, shortened, isComplete }: KeyWatch): string[] {
  const limit = isComplete ? '' : ` (of the first ${KEYS_REMEMBERED_MAX} keys)`;
  return [
    ...render(repeated, `a key that stands in the file before, for the same customer${limit}: not counted again`),
    ...render(shortened, 'a key that a spreadsheet seems to have shortened: export the column as text'),
  ];
}

function render({ count, keys }: SuspectKeys, what: string): string[] {
  if (count === 0) return [];
  const named = keys.map(({ key, count: times, lines }) => {
    const more = times > lines.length ? ', …' : '';
    return `    ${key} (line ${lines.join(', ')}${more})`;
  });
  return [`  ${count} ${count === 1 ? 'event has' : 'events have'} ${what}`, ...named];
}

/** How other systems write an instant. */
export const TIME_FORMATS = ['unix', 'unixms', 'postgres', 'utc'] as const;
export type TimeFormat = (typeof TIME_FORMATS)[number];

/** Outside these years a number is seconds taken for milliseconds, or the other way round. */
const NUMBER_MS_MIN = Date.UTC(2000, 0, 1);
const NUMBER_MS_MAX = Date.UTC(2100, 0, 1);
const SECONDS = /^(\d{1,12})(?:\.(\d{1,9}))?$/;
const MILLISECONDS = /^\d{1,15}$/;
const DATE_AND_TIME = /^(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?)/;
const POSTGRES_OFFSET = /^([+-]\d{2})(?::?(\d{2}))?$/;

/**
 * An instant of another system in RFC 3339. `unix`: seconds since 1970, with decimals or without; `unixms`:
 * milliseconds; `postgres`: `2026-11-21 05:00:00.123+00`, as Postgres prints a `timestamptz`; `utc`: the same without an
 * offset, as it prints a `timestamp`, taken for UTC. What is cut is cut to milliseconds.
 * @returns the text as it stands when it is nothing of the kind: the daemon refuses it as no instant.
 */
export function readTime(text: string, format: TimeFormat): string {
  const trimmed = text.trim();
  if (format === 'unix') return fromUnix(SECONDS.exec(trimmed)) ?? text;
  if (format === 'unixms') return (MILLISECONDS.test(trimmed) ? toInstant(Number(trimmed)) : undefined) ?? text;
  const [matched = '', date, time] = DATE_AND_TIME.exec(trimmed) ?? [];
  const rest = trimmed.slice(matched.length);
  if (date === undefined || time === undefined) return text;
  if (format === 'utc') return rest === '' ? `${date}T${time}Z` : text;
  const [, hours, minutes = '00'] = POSTGRES_OFFSET.exec(rest) ?? [];
  return hours === undefined ? text : `${date}T${time}${hours}:${minutes}`;
}

function fromUnix(match: RegExpExecArray | null): string | undefined {
  if (match === null) return undefined;
  const [, seconds, fraction = ''] = match;
  return toInstant(Number(seconds) * 1000 + Number(fraction.padEnd(3, '0').slice(0, 3)));
}

function toInstant(ms: number): string | undefined {
  return ms >= NUMBER_MS_MIN && ms < NUMBER_MS_MAX ? new Date(ms).toISOString() : undefined;
}

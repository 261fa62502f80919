import { DAY_MS } from '../../src/platform/durations.ts';

const OCCURRED_AT = /"occurredAt"\s*:\s*"([^"\\]*)"/g;

/**
 * Moves `occurredAt` of an event, given as JSON text, by whole days; the offset from UTC and the time of day stay. All
 * else stays as it is written. A text that is not an event is returned unchanged: the daemon says what is wrong with it.
 */
export function shiftEventText(text: string, shiftDays: number): string {
  if (shiftDays === 0) return text;
  const matches = [...text.matchAll(OCCURRED_AT)];
  const [match] = matches;
  if (match?.[1] === undefined) return text;
  // A property may have the same name: then the field itself has to be found by parsing.
  if (matches.length > 1) return shiftParsed(text, shiftDays);
  const shifted = shiftInstant(match[1], shiftDays);
  return shifted === undefined ? text : text.replace(match[0], () => `"occurredAt":${JSON.stringify(shifted)}`);
}

/** An RFC 3339 instant, whole days later; undefined when it is none. */
export function shiftInstant(instant: string, shiftDays: number): string | undefined {
  const [, date, rest] = /^(\d{4}-\d{2}-\d{2})([Tt ].+)$/.exec(instant) ?? [];
  if (date === undefined || rest === undefined) return undefined;
  const dayMs = Date.parse(`${date}T00:00:00Z`);
  if (Number.isNaN(dayMs)) return undefined;
  return new Date(dayMs + shiftDays * DAY_MS).toISOString().slice(0, 10) + rest;
}

function shiftParsed(text: string, shiftDays: number): string {
  try {
    const event = JSON.parse(text) as { occurredAt?: unknown };
    const shifted = typeof event.occurredAt === 'string' ? shiftInstant(event.occurredAt, shiftDays) : undefined;
    return shifted === undefined ? text : JSON.stringify({ ...event, occurredAt: shifted });
  } catch {
    return text;
  }
}

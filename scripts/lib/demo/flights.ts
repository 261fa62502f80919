import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { DAY_MS } from '../../../src/platform/durations.ts';
import { CommandError } from '../command-error.ts';
import { type EventLine, openEventFile } from '../event-file.ts';
import { shiftEventText, shiftInstant } from '../shift-event.ts';

const EVENTS = 'flights-2013-11.ndjson.gz';
const TOTALS = 'flights-2013-11.expected.json';
const HOURS = 'flights-2013-11.expected-hours.csv.gz';
/** The last event is at least this old, so that every hour with usage has ended. */
const LAST_AGE_MS_MIN = DAY_MS;
/** The first is younger, so that the daemon takes it and Stripe would bill it. */
const FIRST_AGE_MS_MAX = 34 * DAY_MS;

/** What is true of one airline, computed apart from any daemon. */
export interface ExpectedTotals {
  readonly flights: number;
  readonly airMinutes: string;
  readonly longestMinutes: string;
  readonly miles: string;
  readonly uniqueTailnums: number;
  readonly rejected: number;
}

/** A customer-hour that must come out. */
export interface ExpectedHour {
  readonly customerId: string;
  readonly hour: string;
  readonly flights: string;
  readonly airMinutes: string;
}

/** A month of flights, moved by whole days so that it ended yesterday. */
export interface Flights {
  readonly shiftDays: number;
  /** 00:00 UTC of the first day with a flight. */
  readonly firstDay: string;
  /** 00:00 UTC after the last. */
  readonly endDay: string;
  readonly eventCount: number;
  readonly accepted: number;
  readonly rejected: number;
  readonly customers: ReadonlyMap<string, ExpectedTotals>;
  events(): AsyncGenerator<EventLine>;
  expectedHours(): Promise<ExpectedHour[]>;
}

/** @throws CommandError when no whole number of days puts the month between its limits. */
export async function openFlights(folder: string, nowMs: number): Promise<Flights> {
  const file = await openEventFile(join(folder, EVENTS));
  let firstMs = Number.POSITIVE_INFINITY;
  let lastMs = Number.NEGATIVE_INFINITY;
  let eventCount = 0;
  for await (const { text } of file.lines()) {
    const occurredMs = Date.parse((JSON.parse(text) as { occurredAt: string }).occurredAt);
    firstMs = Math.min(firstMs, occurredMs);
    lastMs = Math.max(lastMs, occurredMs);
    eventCount += 1;
  }
  const shiftDays = chooseShift({ firstMs, lastMs, nowMs });
  const expected = JSON.parse(await readFile(join(folder, TOTALS), 'utf8')) as {
    accepted: number;
    rejected: number;
    customers: Record<string, ExpectedTotals>;
  };
  const dayOf = (instantMs: number): number => Math.floor(instantMs / DAY_MS) + shiftDays;
  return {
    shiftDays,
    firstDay: new Date(dayOf(firstMs) * DAY_MS).toISOString(),
    endDay: new Date((dayOf(lastMs) + 1) * DAY_MS).toISOString(),
    eventCount,
    accepted: expected.accepted,
    rejected: expected.rejected,
    customers: new Map(Object.entries(expected.customers)),
    events: async function* () {
      for await (const { line, text } of file.lines()) yield { line, text: shiftEventText(text, shiftDays) };
    },
    expectedHours: () => readExpectedHours(join(folder, HOURS), shiftDays),
  };
}

function chooseShift({ firstMs, lastMs, nowMs }: { firstMs: number; lastMs: number; nowMs: number }): number {
  const shiftDays = Math.floor((nowMs - LAST_AGE_MS_MIN - lastMs) / DAY_MS);
  if (nowMs - (firstMs + shiftDays * DAY_MS) < FIRST_AGE_MS_MAX) return shiftDays;
  throw new CommandError({
    what: 'the flights cannot be moved into the last 34 days',
    why: `from first to last they span ${((lastMs - firstMs) / DAY_MS).toFixed(1)} days`,
    todo: 'The demo needs the file that came with it: restore examples/.',
  });
}

async function readExpectedHours(path: string, shiftDays: number): Promise<ExpectedHour[]> {
  const [, ...lines] = gunzipSync(await readFile(path))
    .toString()
    .trim()
    .split('\n');
  return lines.map((line) => {
    const [customerId = '', hour = '', flights = '', airMinutes = ''] = line.trim().split(',');
    const shifted = new Date(shiftInstant(hour, shiftDays) ?? hour).toISOString();
    return { customerId, hour: shifted, flights, airMinutes };
  });
}

const TIMESTAMP =
  /^(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,3})\d*)?(?:[Zz]|([+-])(\d{2}):(\d{2}))$/;
const TIMESTAMP_LENGTH_MAX = 64;

/**
 * Reads an RFC 3339 timestamp with an explicit offset, cut to milliseconds. Refuses days that do not exist and the
 * leap second 60, which no two systems treat alike.
 * @returns UTC milliseconds, or undefined.
 */
export function parseTimestamp(text: string): number | undefined {
  if (text.length > TIMESTAMP_LENGTH_MAX) return undefined;
  const match = TIMESTAMP.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second, fraction, sign, offsetHour, offsetMinute] = match;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59) return undefined;
  if (Number(month) < 1 || Number(month) > 12 || Number(day) < 1) return undefined;
  if (Number(day) > daysInMonth(Number(year), Number(month))) return undefined;
  if (sign !== undefined && (Number(offsetHour) > 23 || Number(offsetMinute) > 59)) return undefined;
  const localMs = Date.UTC(
    Number(year),
    Number(month) - 1,
    Number(day),
    Number(hour),
    Number(minute),
    Number(second),
    fraction === undefined ? 0 : Number(fraction.padEnd(3, '0')),
  );
  // Date.UTC reads the years 0 to 99 as 1900 to 1999.
  if (Number(year) < 100) return undefined;
  if (sign === undefined) return localMs;
  const offsetMs = (Number(offsetHour) * 60 + Number(offsetMinute)) * 60_000;
  return sign === '+' ? localMs - offsetMs : localMs + offsetMs;
}

function daysInMonth(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

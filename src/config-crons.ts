/** The form of schedules. */
import { createTask, validateDetailed } from 'node-cron';
import { DAY_MS } from './platform/durations.ts';

const FIELDS = 5;
const MONTHS = 12;
const EVERY_DAY = '* * *';
/** A schedule that rests for longer is a mistake: Stripe takes usage for 35 days. */
const REST_DAYS_MAX = 31;
/** How many of the days on which it fires are looked at: more than the longest month has. */
const DAYS_LOOKED_AT = 40;

/**
 * What is wrong with a cron expression, as a clause that follows the name of its variable, or undefined. It has to fire
 * at least once in every 31 days, and at whole minutes: a tick's job is named by its minute.
 */
export function cronFault(text: string): string | undefined {
  const needed = 'must be a cron expression of five fields: minute, hour, day of month, month, day of week (UTC)';
  const parts = text.split(/\s+/);
  if (parts.length === FIELDS + 1) return `${needed}; a field for seconds is not taken`;
  if (parts.length !== FIELDS) return needed;
  const { valid, errors, fields } = validateDetailed(text);
  if (!valid || fields === undefined) return `${needed}; look at its ${errors.map(({ field }) => field).join(', ')}`;
  const days = nextDays(parts.slice(2).join(' '));
  if (days === undefined) return `${needed}, and this one never fires`;
  const rests = days.slice(1).map((day, index) => day - (days[index] ?? day));
  if (fields.month.length === MONTHS && rests.every((rest) => rest <= REST_DAYS_MAX * DAY_MS)) return undefined;
  return `must fire at least once in every ${REST_DAYS_MAX} days`;
}

/** The next days on which an expression fires, by its last three fields; undefined when there are none. */
function nextDays(dayFields: string): number[] | undefined {
  if (dayFields === EVERY_DAY) return [];
  const task = createTask(`0 0 ${dayFields}`, () => {}, { timezone: 'UTC' });
  try {
    return task.getNextRuns(DAYS_LOOKED_AT).map((time) => time.getTime());
  } catch {
    return undefined;
  } finally {
    void task.destroy();
  }
}

import type { WaitingUsage } from '../../src/daemon/waiting-usage.ts';
import { timeBeside } from './verdict-text.ts';

/** Why nothing was sent, and when something will be, in words. */
export function renderWaiting(waiting: WaitingUsage, nowMs: number): string {
  const { windows, submissionsDueAt, journalEntries, blocked } = waiting;
  const parts = [
    ...(windows === undefined
      ? []
      : [
          `${windows.count === 1 ? '1 window' : `${windows.count} windows`} ${ends(windows, nowMs)}, ` +
            `${windows.count === 1 ? 'goes' : 'go'} out by ${toTime(windows.goesOutBy, nowMs)}`,
        ]),
    ...(submissionsDueAt === undefined ? [] : [`meter events are due from ${toTime(submissionsDueAt, nowMs)}`]),
    ...(journalEntries === undefined ? [] : [`${renderJournal(journalEntries)} (\`tallystick aggregate\`)`]),
    ...(blocked === undefined ? [] : [`${blocked} blocked (\`tallystick doctor submissions\`)`]),
  ];
  return `nothing to do: ${parts.length === 0 ? 'all usage that was aggregated is at Stripe' : parts.join('; ')}`;
}

/** That usage waits in the journal. */
export function renderJournal(entries: number): string {
  return `${entries === 1 ? '1 journal entry waits' : `${entries} journal entries wait`} to be aggregated`;
}

function ends({ count, endsAt }: NonNullable<WaitingUsage['windows']>, nowMs: number): string {
  if (Date.parse(endsAt) <= nowMs) return `ended at ${toTime(endsAt, nowMs)}`;
  return `${count === 1 ? 'ends' : 'end'} at ${toTime(endsAt, nowMs)}`;
}

function toTime(instant: string, nowMs: number): string {
  return `${timeBeside(instant, nowMs)} UTC`;
}

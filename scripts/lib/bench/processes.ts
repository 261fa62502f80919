/** What Linux says of a process. */
import { readFileSync } from 'node:fs';

/** The unit of /proc/<pid>/stat; 100 a second on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;
const KIB_PER_MIB = 1_024;

/** CPU seconds that a process has used so far, in user and system mode. */
export function cpuSecondsOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The second field, the name, may hold anything but ends with the last parenthesis.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Resident memory of a process now and at its highest, in MiB. */
export function memoryOf(pid: number): { residentMib: number; highestMib: number } {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8');
  const read = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1]) / KIB_PER_MIB;
  return { residentMib: read('VmRSS'), highestMib: read('VmHWM') };
}

import { type AuditedFigure, type AuditedWindow, compareFigures, type FigureDifference } from './audited-figure.ts';
import type { BillingCustomer } from '../customers/calendar/billing-customer.ts';
import { type DerivationStep, planDerivation } from './derivation-plan.ts';
import type { Meter } from '../meters/meter.ts';
import { isWithin, type Period } from '../customers/calendar/period.ts';
import { type EpochHour, type CustomerHour } from '../customers/calendar/window.ts';

/** The reads of an audit that groups take, none older than the one before: see explain/usage-audit-store. */
export interface GroupReads {
  rawHours(query: {
    customerIds: readonly string[];
    fromHour: EpochHour;
    toHour: EpochHour;
  }): AsyncGenerator<CustomerHour[]>;
  /** The groups of a step whose meters all have `groupBy`, from raw facts. */
  deriveGroups(step: DerivationStep): Promise<AuditedFigure[]>;
  storedGroups(windows: readonly AuditedWindow[]): Promise<AuditedFigure[]>;
  /** Windows that begin in a range and have stored groups with facts. */
  groupedWindows(
    range: Period & { customerIds: readonly string[]; meters: readonly string[] },
  ): Promise<AuditedWindow[]>;
}

interface GroupsAudit {
  /** Groups that the facts come to, each once for each of its windows. */
  readonly groups: number;
  readonly differences: readonly FigureDifference[];
}

/** Windows whose groups are read by one statement. */
const WINDOWS_PER_READ = 1_000;

/**
 * Lays the groups of windows that begin in a period, from raw facts, beside the stored ones. Holds the groups of one
 * step of one meter at a time: a window has up to a hundred.
 */
export async function auditGroups(
  reads: GroupReads,
  of: {
    customers: ReadonlyMap<string, BillingCustomer>;
    meters: readonly Meter[];
    fromHour: EpochHour;
    toHour: EpochHour;
    period: Period;
  },
): Promise<GroupsAudit> {
  const { customers, fromHour, toHour, period } = of;
  const meters = of.meters.filter(({ groupBy }) => groupBy.length > 0);
  const differences: FigureDifference[] = [];
  if (meters.length === 0) return { groups: 0, differences };
  const customerIds = [...customers.keys()];
  const seen = new Set<string>();
  let groups = 0;
  for await (const pairs of reads.rawHours({ customerIds, fromHour, toHour })) {
    for (const meter of meters) {
      for (const step of planDerivation(pairs, customers, [meter]).steps) {
        const raw = (await reads.deriveGroups(step)).filter(({ fromMs }) => isWithin(period, fromMs));
        const windows = windowsOf(raw);
        for (const text of windows.keys()) seen.add(text);
        groups += raw.length;
        const stored = await reads.storedGroups([...windows.values()]);
        for (const difference of compareFigures(raw, stored)) differences.push(difference);
      }
    }
  }
  const stored = await reads.groupedWindows({ customerIds, meters: meters.map(({ key }) => key), ...period });
  const left = stored.filter((window) => !seen.has(textOf(window)));
  for (let from = 0; from < left.length; from += WINDOWS_PER_READ) {
    const without = await reads.storedGroups(left.slice(from, from + WINDOWS_PER_READ));
    for (const difference of compareFigures([], without)) differences.push(difference);
  }
  return { groups, differences };
}

function windowsOf(figures: readonly AuditedFigure[]): Map<string, AuditedWindow> {
  return new Map(figures.map((figure) => [textOf(figure), figure]));
}

function textOf({ customerId, meter, fromMs }: AuditedWindow): string {
  return `${customerId}\u001f${meter}\u001f${fromMs}`;
}

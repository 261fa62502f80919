import type { GroupedFigure } from './live-groups.ts';

/** A customer's usage at one moment. Quantities are exact decimals, instants RFC 3339 UTC. */
export interface UsageReport {
  readonly customerId: string;
  readonly from: string;
  readonly to: string;
  readonly asOf: string;
  readonly meters: readonly MeterUsage[];
}

export interface MeterUsage {
  readonly meter: string;
  readonly unit: string;
  readonly quantity: string;
  readonly eventCount: number;
  /** Events of the type that the meter could not count. */
  readonly uncountable?: number;
  /** In time order; windows without usage are left out, unless the whole range is one. */
  readonly windows: readonly WindowUsage[];
  readonly groups?: readonly GroupedFigure[];
}

export interface WindowUsage {
  readonly from: string;
  readonly to: string;
  readonly quantity: string;
  readonly eventCount: number;
}

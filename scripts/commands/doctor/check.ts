import type { Config } from '../../../src/config.ts';
import type { ExitCode } from '../../lib/exit-codes.ts';

/** One thing that is wrong, in a line. */
export interface Problem {
  readonly what: string;
  readonly todo: string;
  readonly exitCode: ExitCode;
  /** The check that names it, where one looks at several things. */
  readonly check?: string;
}

export interface CheckContext {
  readonly config: Config;
  /** Whether this check was asked for by name, so that nothing is passed over in silence. */
  readonly isAskedFor: boolean;
}

/** Looks at one thing; no problems mean that it is well. What it cannot reach it says itself. */
export type Check = (context: CheckContext) => Promise<Problem[]>;

/** Clocks further apart than this are a problem: signatures, leases and late events depend on them. */
const SKEW_MS_MAX = 5_000;

/**
 * @param theirMs the other clock, read between `beforeMs` and `afterMs` of ours.
 * @param resolutionMs how coarse the other clock is told.
 */
export function skewProblem(
  name: string,
  read: { theirMs: number; beforeMs: number; afterMs: number; resolutionMs: number },
): string | undefined {
  const aheadMs = read.beforeMs - (read.theirMs + read.resolutionMs);
  const behindMs = read.theirMs - read.afterMs;
  const skewMs = Math.max(aheadMs, behindMs);
  if (skewMs <= SKEW_MS_MAX) return undefined;
  const seconds = Math.round(skewMs / 1000);
  return `our clock is ${seconds} s ${skewMs === aheadMs ? 'ahead of' : 'behind'} ${name}`;
}

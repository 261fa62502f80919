import { DAY_MS, HOUR_MS } from '../../../src/platform/durations.ts';
import type { Switches } from '../../../packages/stripe-double/src/switches.ts';
import type { Dice } from './dice.ts';

/** Where Stripe's behaviour is a setting or is not established: either way, for the whole of a week. */
export function throwSwitches(dice: Dice): Partial<Switches> {
  const lagMs = dice.below(7) * HOUR_MS;
  return {
    summaryLagMs: dice.chance(0.5)
      ? lagMs
      : ({ timestamp, receivedAt }) => (timestamp * 31 + receivedAt) % (6 * HOUR_MS),
    identifierHorizonMs: DAY_MS,
    concurrency: dice.chance(0.5) ? 'conflict' : 'lock-timeout',
    refusalCodes: dice.chance(0.5) ? 'bare' : 'coded',
    refusalsReplayed: dice.chance(0.5),
    emptySummary: dice.chance(0.5) ? 'none' : 'zero',
    identifierReuseAfterRejection: dice.chance(0.5),
    errorReportSampleForm: dice.chance(0.5) ? 'identifier' : 'idempotency-key',
    errorReportSamples: 1 + dice.below(5),
    invoiceGraceMs: dice.pick([1, 6, 24]) * HOUR_MS,
    firstInvoiceMeteredLine: dice.chance(0.5) ? 'current-period' : 'none',
    releasedInvoice: dice.chance(0.5) ? 'at-once' : 'after-grace',
    usageOfEndedItem: dice.chance(0.5) ? 'dropped' : 'invoiced',
  };
}

import { addQuantities, type Quantity, subtractQuantities } from '../platform/quantity.ts';
import type { LedgerFigures } from './reconciliation.ts';
import { latestOf, runningFigures } from '../submissions/planning/running-figure.ts';
import { MINUTE_MS } from '../platform/durations.ts';
import type { FiguresDeps, Pair, RangeSums, Scope } from './pair.ts';

/**
 * The compared range of a pair. Stripe takes ranges on whole minutes. Stamps lie at window starts, so the minute in which
 * a period begins belongs to it, but for windows before it that begin in the same minute: see `readFigures`.
 */
export function scopeOf(pair: Pair, nowMs: number): Scope {
  const fromMs = wholeMinute(pair.fromMs);
  const toMs = Math.max(Math.min(wholeMinute(pair.period.toMs), wholeMinute(nowMs)), fromMs);
  return { customerId: pair.customer.customerId, meter: pair.meter.key, fromMs, toMs };
}

/** What our submissions of a range come to, by the way the pair's Stripe meter reads them. */
export async function readSums(deps: FiguresDeps, pair: Pair, scope: Scope): Promise<RangeSums> {
  if (pair.mode === 'delta') return deps.ledger.sums(scope);
  const entries = await deps.ledger.entries(scope);
  return { ...runningFigures(entries), lateSubmitted: '0', calling: 0, submissions: entries.length };
}

/**
 * Our side of a comparison, with a note where two periods share a minute.
 *
 * An anchor in an hour's first minute (or next to another split) leaves windows of two periods that are stamped in one
 * minute. Stripe's ranges cannot tell them apart: they are compared together, with the later period.
 */
export async function readFigures(
  deps: FiguresDeps,
  pair: Pair,
  read: { scope: Scope; sums: RangeSums },
): Promise<{ figures: LedgerFigures; note?: string }> {
  const { scope, sums } = read;
  const usage = await deps.localFigure(pair);
  const late = await deps.lateUsage({ ...scope, fromMs: pair.fromMs, toMs: pair.period.toMs });
  const shared = {
    before: await readShared(deps, scope, pair.fromMs),
    after: await readShared(deps, scope, pair.period.toMs),
  };
  const isShared = shared.before !== undefined || shared.after !== undefined;
  const { before = '0', after = '0' } = shared;
  const local =
    pair.mode === 'delta'
      ? subtractQuantities(addQuantities(usage, sums.lateSubmitted, before), after)
      : await runningLocal(deps, pair, { scope, usage, ...shared });
  return {
    figures: { ...sums, local, late: late.sum, isLateWaiting: late.isWaiting },
    ...(isShared && { note: 'usage of two periods within one minute is compared together, with the later period' }),
  };
}

/** What was submitted for windows that begin in the minute of a boundary, before it; undefined when nothing was. */
async function readShared(deps: FiguresDeps, scope: Scope, boundaryMs: number): Promise<Quantity | undefined> {
  const fromMs = wholeMinute(boundaryMs);
  if (fromMs === boundaryMs) return undefined;
  const entries = await deps.ledger.entries({ ...scope, fromMs, toMs: boundaryMs });
  const usage = entries.filter(({ state, subject }) => state !== 'replaced' && /^(window|period)$/.test(subject));
  return usage.length === 0 ? undefined : addQuantities('0', ...usage.map(({ value }) => value));
}

/**
 * A running figure whose latest value lies in the minute that belongs to the next period is compared as far as it was
 * before; and one whose period has sent nothing yet, as the value of the period before in that minute.
 */
async function runningLocal(
  deps: FiguresDeps,
  pair: Pair,
  read: { scope: Scope; usage: Quantity; before: Quantity | undefined; after: Quantity | undefined },
): Promise<Quantity> {
  if (read.before === undefined && read.after === undefined) return read.usage;
  const entries = await deps.ledger.entries(read.scope);
  const latest = latestOf(entries.filter(({ state }) => state !== 'replaced'));
  if (read.after === undefined && latest !== undefined && latest.timestampMs >= pair.fromMs) return read.usage;
  return latest?.value ?? '0';
}

function wholeMinute(instantMs: number): number {
  return Math.floor(instantMs / MINUTE_MS) * MINUTE_MS;
}

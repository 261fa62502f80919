import type { Clock } from '../platform/clock.ts';
import { type BillingCustomer, billingPeriodOf, countsFromMs } from '../customers/calendar/billing-customer.ts';
import { type GuardedLine, judgeBilled, judgeSummary, type UsageLine } from './guarded-line.ts';
import { isAdditive, type Meter } from '../meters/meter.ts';
import { addQuantities, isZeroQuantity, type Quantity, subtractQuantities } from '../platform/quantity.ts';
import { expectedAtStripe, type LedgerFigures } from '../reconciliation/reconciliation.ts';
import { DaemonError } from '../platform/errors.ts';
import type { FiguresDeps, Pair, RangeSums, Scope, SummaryRange, SummaryRead } from '../reconciliation/pair.ts';
import { readFigures, readSums, scopeOf } from '../reconciliation/read-figures.ts';
import { type DestinationMeter, modeOf } from '../meters/stripe-meter.ts';

export interface CompareLinesDeps extends FiguresDeps {
  readonly summaries: { total(range: SummaryRange): Promise<SummaryRead<Quantity>> };
  /** What Stripe took with stamps in a range after the invoice was final. */
  unbilled(scope: Scope): Promise<Quantity>;
  readonly clock: Pick<Clock, 'now'>;
  readonly log: { warn(fields: object, phrase: string): void };
}

/** What lines are compared for. */
export interface LineContext {
  readonly customer: BillingCustomer;
  /** By key. */
  readonly meters: ReadonlyMap<string, Meter>;
  /** By Stripe's id. */
  readonly stripeMeters: ReadonlyMap<string, DestinationMeter>;
}

/** A draft's line and what else was learnt. */
export interface ComparedLine {
  readonly line: GuardedLine;
  /** The last attempt to send something of it; 0 when there was none. */
  readonly lastAttemptAtMs: number;
}

const NOT_OUR_PERIOD = 'not a billing period of the customer: a running figure of it is compared as it was sent';
const BEGAN_WITHIN = 'we began to submit within the period';

/**
 * Compares a draft's line: our aggregates with Stripe's event summary over exactly the line's period. The draft's own
 * quantities say nothing: Stripe computes them anew when it finalises (Stripe docs, Finalization grace period).
 * @param before the line at the last look: with nothing changed on our side since it matched, Stripe is not asked.
 * @returns undefined for a line that we submit nothing for.
 */
export async function compareDraftLine(
  deps: CompareLinesDeps,
  line: UsageLine,
  { before, ...context }: LineContext & { before: GuardedLine | undefined },
): Promise<ComparedLine | undefined> {
  const pair = pairOf(line, context);
  if (pair === undefined) return undefined;
  const scope = scopeOf(pair, deps.clock.now());
  const sums = await readSums(deps, pair, scope);
  const { figures, note = noteOf(pair, line) } = await readFigures(deps, pair, { scope, sums });
  const lastAttemptAtMs = figures.lastAttemptAtMs ?? 0;
  const expected = hasOwnFigure(pair) ? expectedAtStripe(figures) : sentAltogether(figures);
  const fingerprint = `${expected} ${figures.fingerprint}`;
  const { billed: _draft, ...place } = line;
  const base = { ...place, local: expected, fingerprint, ...(note !== undefined && { note }) };
  // Another producer feeds this customer's meter: its usage is not ours to judge.
  if (isZeroQuantity(expected) && lastAttemptAtMs === 0) return undefined;
  if (before?.verdict === 'match' && before.fingerprint === fingerprint) {
    return { line: { ...base, verdict: 'match', ...(before.stripe && { stripe: before.stripe }) }, lastAttemptAtMs };
  }
  const stripe = await readTotal(deps, pair, { scope, sums, stripeMeterId: line.stripeMeterId });
  const verdict = judgeSummary(stripe, expected);
  return { line: { ...base, verdict, ...(stripe !== undefined && { stripe }) }, lastAttemptAtMs };
}

/** Stripe's total; undefined when it could not be read, or the ledger changed meanwhile. */
async function readTotal(
  deps: CompareLinesDeps,
  pair: Pair,
  read: { scope: Scope; sums: RangeSums; stripeMeterId: string },
): Promise<Quantity | undefined> {
  const { fromMs, toMs } = read.scope;
  const { stripeCustomerId } = pair.customer;
  if (stripeCustomerId === undefined || fromMs >= toMs) return undefined;
  const { stripeMeterId } = read;
  try {
    const { value } = await deps.summaries.total({ stripeCustomerId, stripeMeterId, fromMs, toMs });
    const after = await readSums(deps, pair, read.scope);
    return after.fingerprint === read.sums.fingerprint ? value : undefined;
  } catch (err) {
    // The guard has a rule for what Stripe does not tell in time; what our own store does not tell is not Stripe's.
    if (!(err instanceof DaemonError) || !err.code.startsWith('stripe_')) throw err;
    deps.log.warn({ err, meter: pair.meter.key }, 'could not read an event summary');
    return undefined;
  }
}

/**
 * Compares a line of a final invoice: the quantity that is billed with our aggregates over the line's period, to the
 * last decimal. Late usage explains what is not on it.
 */
export async function compareBilledLine(
  deps: CompareLinesDeps,
  line: UsageLine,
  context: LineContext,
): Promise<GuardedLine | undefined> {
  const pair = pairOf(line, context);
  if (pair === undefined) return undefined;
  const scope = { ...scopeOf(pair, deps.clock.now()), fromMs: pair.fromMs, toMs: pair.period.toMs };
  const sums = await readSums(deps, pair, scope);
  const used = addQuantities(await deps.localFigure(pair), sums.lateSubmitted);
  const late = addQuantities((await deps.lateUsage(scope)).sum, await deps.unbilled(scope));
  const isOurs = !isZeroQuantity(used) || sums.lastAttemptAtMs !== undefined;
  if (!isOurs) return undefined;
  const note = noteOf(pair, line);
  if (note !== undefined) return { ...line, verdict: 'not_read', note };
  return { ...line, local: subtractQuantities(used, late), verdict: judgeBilled(line.billed, { used, late }) };
}

/** The line as a pair of reconciliation's; undefined where we submit nothing of its period. */
function pairOf(line: UsageLine, { customer, meters, stripeMeters }: LineContext): Pair | undefined {
  const meter = meters.get(line.meter);
  const stripeMeter = stripeMeters.get(line.stripeMeterId);
  if (meter === undefined || stripeMeter === undefined) return undefined;
  const fromMs = Math.max(line.fromMs, customer.submitFromMs ?? 0, countsFromMs(meter, customer));
  if (fromMs >= line.toMs) return undefined;
  const period = { fromMs: line.fromMs, toMs: line.toMs };
  return { customer, meter, period, fromMs, stripeMeter, mode: modeOf(meter, stripeMeter) };
}

/** Why a line cannot be compared as a whole; undefined where it can. */
function noteOf(pair: Pair, line: UsageLine): string | undefined {
  if (!hasOwnFigure(pair)) return NOT_OUR_PERIOD;
  return pair.fromMs > line.fromMs ? BEGAN_WITHIN : undefined;
}

/** Windows add up over any period; a running figure exists for the customer's billing periods alone. */
function hasOwnFigure({ customer, meter, period }: Pair): boolean {
  if (isAdditive(meter.aggregation)) return true;
  const { fromMs, toMs } = billingPeriodOf(customer, period.fromMs);
  return fromMs === period.fromMs && toMs === period.toMs;
}

function sentAltogether({ delivered, inFlight, blocked, rejected }: LedgerFigures): Quantity {
  return addQuantities(delivered, inFlight, blocked, rejected);
}

import { HOUR_MS } from '../platform/durations.ts';
import { isCountedAfter } from '../submissions/late-usage.ts';
import { isDelivered, isHeal, type LedgerEntry } from '../submissions/ledger-entry.ts';
import { isWithin, type Period } from '../customers/calendar/period.ts';
import {
  absoluteQuantity,
  addQuantities,
  compareQuantities,
  equalQuantities,
  fractionOf,
  leadingPart,
  type Quantity,
  subtractQuantities,
} from '../platform/quantity.ts';
import { latestOf } from '../submissions/planning/running-figure.ts';
import { ATTEMPT_SPAN_MS_MAX } from '../submissions/submission.ts';

/** Why an hour is left to a person. */
export type PersonReason =
  /** Usage that no submission of ours explains: from before us, or from another producer. */
  | 'stripe_holds_more'
  /** A submission in doubt that the total neither confirms nor refutes. */
  | 'in_doubt'
  /** The invoice of this usage is final: Stripe would take a correction, and never bill it. */
  | 'invoice_final'
  /** On a meter that shows the latest value: one that we did not send. */
  | 'figure_not_ours';

interface Correction {
  /** Start of the hour, or of its part in the compared range, UTC milliseconds. */
  readonly hourMs: number;
  /** What Stripe's figure is to change by. */
  readonly quantity: Quantity;
}

/**
 * What mends one settled hour. Each is made from one reading of our ledger and names what it was made from (identifiers,
 * the number of the heal, how often a cancellation was tried), so that all who find the same drift do the same, once.
 */
export type HealAction =
  /** Submissions that Stripe did not count after all: each gets a successor. */
  | (Correction & { readonly kind: 'replace'; readonly identifiers: readonly string[] })
  /** A difference that no submission explains: the hour's nth heal, a meter event of its own. */
  | (Correction & { readonly kind: 'top-up'; readonly number: number })
  /** A submission that was replaced and counted all the same: cancelled, or taken back by the hour's nth heal. */
  | (Correction & {
      readonly kind: 'take-back';
      readonly identifier: string;
      readonly cancelAttempts: number;
      readonly number: number;
    })
  /** A submission in doubt that counted. */
  | (Correction & { readonly kind: 'confirm'; readonly identifier: string })
  /** Not ours to touch. */
  | (Correction & { readonly kind: 'person'; readonly reason: PersonReason; readonly number: number });

/** A settled difference, and the ledger that it was settled on. */
export interface SettledHour {
  readonly hourMs: number;
  readonly delivered: Quantity;
  readonly stripe: Quantity;
  readonly entries: readonly LedgerEntry[];
}

/** A period of the pair's meter whose invoice is final. */
export interface ClosedPeriod extends Period {
  readonly finalizedAtMs: number;
}

/**
 * A meter event can be cancelled for 24 hours after Stripe received it (API reference, Meter event adjustments). After
 * this long we no longer try, and after that long no call that is still under way can have an effect.
 */
export const CANCEL_SPAN_MS_MAX = ATTEMPT_SPAN_MS_MAX;
const CANCEL_POSSIBLE_MS_MAX = 25 * HOUR_MS;

/**
 * Plans how to mend one settled hour. Nothing is guessed: a shortfall is explained by one submission with exactly its
 * value, or by all of the hour's together, else it is topped up; a surplus is ours only where exactly one replaced
 * submission, or one in doubt, has exactly its value.
 * @returns undefined while an earlier attempt to mend the hour may still take effect.
 */
export function planHeal(
  hour: SettledHour,
  at: { readonly nowMs: number; readonly finals: readonly ClosedPeriod[] },
): HealAction | undefined {
  const drift = subtractQuantities(hour.stripe, hour.delivered);
  if (hour.entries.some(({ state }) => state === 'in_doubt')) return planDoubt(hour, drift);
  if (compareQuantities(drift, '0') < 0) return planMissing(hour, { drift, finals: at.finals });
  return planSurplus(hour, { drift, nowMs: at.nowMs });
}

function planDoubt(hour: SettledHour, drift: Quantity): HealAction {
  const doubts = hour.entries.filter(({ state }) => state === 'in_doubt');
  const [doubt] = doubts;
  const isAlone = doubts.length === 1 && takeBackCandidates(hour, drift).length === 0;
  const quantity = negated(drift);
  if (doubt !== undefined && isAlone && !isHeal(doubt) && equalQuantities(doubt.value, drift)) {
    return { kind: 'confirm', hourMs: hour.hourMs, quantity: '0', identifier: doubt.identifier };
  }
  // A heal is what closes the drift: where it is open, the heal did not count.
  if (doubt !== undefined && isAlone && isHeal(doubt) && equalQuantities(doubt.value, quantity)) {
    return { kind: 'replace', hourMs: hour.hourMs, quantity, identifiers: [doubt.identifier] };
  }
  return { kind: 'person', hourMs: hour.hourMs, quantity, reason: 'in_doubt', number: nextHeal(hour) };
}

function planMissing(hour: SettledHour, context: { drift: Quantity; finals: readonly ClosedPeriod[] }): HealAction {
  const { hourMs } = hour;
  const shortfall = negated(context.drift);
  const sent = hour.entries
    .filter((entry) => isDelivered(entry) && !isHeal(entry))
    .sort((a, b) => leastBilledFirst(a, b, context.finals));
  const single = sent.find(({ value }) => equalQuantities(value, shortfall));
  if (single !== undefined) return { kind: 'replace', hourMs, quantity: shortfall, identifiers: [single.identifier] };
  const total = addQuantities('0', ...sent.map(({ value }) => value));
  if (sent.length > 0 && equalQuantities(total, shortfall)) {
    return { kind: 'replace', hourMs, quantity: shortfall, identifiers: sent.map(({ identifier }) => identifier) };
  }
  return { kind: 'top-up', hourMs, quantity: leadingPart(shortfall), number: nextHeal(hour) };
}

function planSurplus(hour: SettledHour, context: { drift: Quantity; nowMs: number }): HealAction | undefined {
  const { hourMs } = hour;
  const { drift, nowMs } = context;
  const quantity = negated(drift);
  const candidates = takeBackCandidates(hour, drift);
  const [single] = candidates;
  if (single === undefined || candidates.length > 1) {
    return { kind: 'person', hourMs, quantity, reason: 'stripe_holds_more', number: nextHeal(hour) };
  }
  const cancelAttempts = single.cancellation?.attempts ?? 0;
  const isCancelPossible = nowMs - (single.lastAttemptAtMs ?? 0) < CANCEL_POSSIBLE_MS_MAX;
  if (cancelAttempts > 0 && isCancelPossible) return undefined;
  const { identifier } = single;
  return { kind: 'take-back', hourMs, quantity, identifier, cancelAttempts, number: nextHeal(hour) };
}

/** Submissions that were sent and then replaced, whose value is exactly the surplus, and that nothing has taken back. */
function takeBackCandidates(hour: SettledHour, surplus: Quantity): LedgerEntry[] {
  if (compareQuantities(surplus, '0') <= 0) return [];
  return hour.entries.filter(
    ({ state, attempts, isOffset, cancellation, value }) =>
      state === 'replaced' &&
      attempts > 0 &&
      !isOffset &&
      cancellation?.state !== 'done' &&
      equalQuantities(value, surplus),
  );
}

/** Heals are never removed, so their number only grows: from the same ledger everybody names the same next one. */
function nextHeal(hour: SettledHour): number {
  return hour.entries.filter(isHeal).length + 1;
}

/**
 * Plans for a meter that shows the latest value instead of adding up: what is missing is sent again where Stripe shows
 * an earlier value of ours, or none; anything else is not ours.
 */
export function planFigure(hour: SettledHour): HealAction {
  const { hourMs, stripe, entries } = hour;
  const latest = latestOf(entries.filter(isDelivered));
  const quantity = subtractQuantities(hour.delivered, stripe);
  const doubts = entries.filter(
    ({ state, timestampMs }) => state === 'in_doubt' && timestampMs > (latest?.timestampMs ?? 0),
  );
  const [doubt] = doubts;
  if (doubt !== undefined && equalQuantities(doubt.value, stripe)) {
    return { kind: 'confirm', hourMs, quantity: '0', identifier: doubt.identifier };
  }
  const earlier = entries.filter(
    ({ attempts, timestampMs }) => attempts > 0 && timestampMs < (latest?.timestampMs ?? 0),
  );
  const isEarlier = ['0', ...earlier.map(({ value }) => value)].some((value) => equalQuantities(value, stripe));
  if (latest === undefined || !isEarlier)
    return { kind: 'person', hourMs, quantity, reason: 'figure_not_ours', number: 1 };
  return { kind: 'replace', hourMs, quantity, identifiers: [latest.identifier] };
}

/**
 * The stamp of what an action sends, in whole seconds (UTC milliseconds): its hour, but within the period, which may begin
 * inside the first minute of the compared range. What takes a submission back has the submission's.
 */
export function stampOf(
  action: HealAction,
  of: { readonly periodFromMs: number; readonly entries?: readonly LedgerEntry[] },
): number {
  const taken = 'cancelAttempts' in action && of.entries?.find(({ identifier }) => identifier === action.identifier);
  return taken ? taken.timestampMs : Math.max(action.hourMs, Math.floor(of.periodFromMs / 1000) * 1000);
}

/**
 * Leaves to a person what would change usage whose invoice is final: Stripe would take it, and bill nothing by it. What
 * is sent again is let through: before it is sent it is found to be late, and goes to the list of late usage.
 * @param stampMs of what the action sends: its hour may begin in the period before.
 */
export function holdFinal(action: HealAction, finals: readonly Period[], stampMs: number): HealAction {
  const { kind, hourMs, quantity } = action;
  const isSurplus = kind === 'person' && action.reason === 'stripe_holds_more';
  if (kind !== 'top-up' && kind !== 'take-back' && !isSurplus) return action;
  const isFinal = finals.some((final) => isWithin(final, stampMs));
  return isFinal ? { kind: 'person', hourMs, quantity, reason: 'invoice_final', number: action.number } : action;
}

/** The same plan with every unexplained surplus to be taken back: what a person decides who accepts it. */
export function acceptSurplus(plan: readonly HealAction[]): HealAction[] {
  return plan.map((action) => {
    if (action.kind !== 'person' || action.reason !== 'stripe_holds_more') return action;
    const { hourMs, quantity, number } = action;
    return { kind: 'top-up', hourMs, quantity: leadingPart(quantity), number };
  });
}

/** Whether two plans do the same. */
export function isSamePlan(a: readonly HealAction[], b: readonly HealAction[]): boolean {
  const text = (plan: readonly HealAction[]): string => plan.map(describe).sort().join('\n');
  return text(a) === text(b);
}

function describe(action: HealAction): string {
  const { kind, hourMs, quantity } = action;
  const named = kind === 'replace' ? action.identifiers : 'identifier' in action ? [action.identifier] : [];
  const number = 'number' in action ? action.number : '';
  const attempts = kind === 'take-back' ? action.cancelAttempts : '';
  return JSON.stringify([kind, hourMs, quantity, number, attempts, [...named].sort()]);
}

export interface HealBounds {
  /** |heal| ÷ local total of the pair and period. */
  readonly fractionMax: number;
  /** |heal|; absent: no bound. */
  readonly quantityMax?: Quantity;
}

/** Whether the actions on one pair may be carried out without a person. */
export function isWithinBounds(actions: readonly HealAction[], local: Quantity, bounds: HealBounds): boolean {
  const healing = actions.filter(({ kind }) => kind !== 'person' && kind !== 'confirm');
  const healed = addQuantities('0', ...healing.map(({ quantity }) => absoluteQuantity(quantity)));
  if (bounds.quantityMax !== undefined && compareQuantities(healed, bounds.quantityMax) > 0) return false;
  return fractionOf(healed, local) <= bounds.fractionMax;
}

function negated(quantity: Quantity): Quantity {
  return subtractQuantities('0', quantity);
}

/**
 * Of several that could be missing, first what no invoice can have on it, last what was sent before its invoice was final.
 * Else the one that was sent last.
 */
function leastBilledFirst(a: LedgerEntry, b: LedgerEntry, finals: readonly ClosedPeriod[]): number {
  return (
    sentAfterFinal(b, finals) - sentAfterFinal(a, finals) ||
    (b.lastAttemptAtMs ?? 0) - (a.lastAttemptAtMs ?? 0) ||
    (b.firstAttemptAtMs ?? 0) - (a.firstAttemptAtMs ?? 0) ||
    (a.identifier < b.identifier ? -1 : 1)
  );
}

const AFTER_FINAL = { no: 0, perhaps: 1, yes: 2 };

function sentAfterFinal(entry: LedgerEntry, finals: readonly ClosedPeriod[]): number {
  const { timestampMs, firstAttemptAtMs = 0, lastAttemptAtMs = 0 } = entry;
  const final = finals.find((period) => isWithin(period, timestampMs));
  if (final === undefined) return AFTER_FINAL.no;
  return AFTER_FINAL[isCountedAfter({ fromMs: firstAttemptAtMs, toMs: lastAttemptAtMs }, final.finalizedAtMs)];
}

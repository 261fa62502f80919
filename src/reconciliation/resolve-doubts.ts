import { boundary } from '../platform/boundary.ts';
import type { Clock } from '../platform/clock.ts';
import { decideDoubts, type DestinationHour } from './doubt.ts';
import { groupBy } from '../platform/grouping.ts';
import { foldHour, type HourLedger, type LedgerEntry } from '../submissions/ledger-entry.ts';
import type { EntryMove, OutboxEntry } from '../submissions/outbox-entry.ts';
import type { Quantity } from '../platform/quantity.ts';
import { type HourReading, settleHour } from './reconciliation.ts';
import { refusalOf } from '../stripe/stripe-refusal.ts';
import { ATTEMPT_SPAN_MS_MAX, type SubmissionState } from '../submissions/submission.ts';
import { HOUR_MS } from '../platform/durations.ts';

export interface ResolveDoubtsDeps {
  readonly doubts: {
    list(query: { firstAttemptMax: Date; isUndecided: boolean; limit: number }): Promise<OutboxEntry[]>;
    ledgerOf(hour: DestinationHour, row: { customerId: string; meter: string }): Promise<LedgerEntry[]>;
    reading(hour: DestinationHour): Promise<{ reading: HourReading; isUndecided: boolean } | undefined>;
    saveReading(hour: DestinationHour, reading: HourReading, isUndecided?: boolean): Promise<void>;
    forget(hour: DestinationHour): Promise<void>;
  };
  readonly entries: {
    findAll(identifiers: readonly string[]): Promise<OutboxEntry[]>;
    move(move: EntryMove): Promise<OutboxEntry | undefined>;
  };
  /** Replaces a submission that is still in one of these states; false when it is not. */
  replace(
    identifier: string,
    decided: { reason: string; at: Date; from: readonly SubmissionState[]; actor?: string },
  ): Promise<boolean>;
  /** Stripe's total of an hour. */
  readTotal(hour: DestinationHour): Promise<Quantity>;
  readonly summaryLagMaxMs: number;
  readonly summaryRereadMs: number;
  readonly summaryReadsMax: number;
  readonly clock: Clock;
  readonly log: { warn(fields: object, phrase: string): void; error(fields: object, phrase: string): void };
}

export interface ResolveDoubtsResult {
  /** Submissions found to have counted, and those found not to have. */
  readonly confirmed: number;
  readonly replaced: number;
  /** Submissions that Stripe's totals do not decide: they wait for a person. */
  readonly undecided: number;
  /** Submissions whose hour is not settled yet. */
  readonly waiting: number;
  readonly reads: number;
}

/** Submissions looked at in one run: those that wait for their hour to settle, and those left to a person. */
const DOUBTS_MAX = 5_000;
const UNDECIDED_MAX = 500;

type Tally = { -readonly [K in keyof ResolveDoubtsResult]: number };

/**
 * Decides submissions that are in doubt for longer than Stripe knows their identifiers: by Stripe's total of their hour,
 * once that is settled. What counted is confirmed; what did not gets a successor under a new identifier; what cannot be
 * told is left to a person. Nothing is sent again under the old identifier.
 */
export async function resolveDoubts(
  deps: ResolveDoubtsDeps,
  input: { signal?: AbortSignal } = {},
): Promise<ResolveDoubtsResult> {
  const tally: Tally = { confirmed: 0, replaced: 0, undecided: 0, waiting: 0, reads: 0 };
  const firstAttemptMax = new Date(deps.clock.now() - ATTEMPT_SPAN_MS_MAX);
  const doubts = [
    ...(await deps.doubts.list({ firstAttemptMax, isUndecided: false, limit: DOUBTS_MAX })),
    ...(await deps.doubts.list({ firstAttemptMax, isUndecided: true, limit: UNDECIDED_MAX })),
  ];
  const figures = doubts.filter(({ mode }) => mode === 'period_total');
  for (const entry of figures) {
    if (input.signal?.aborted === true) return tally;
    // The figure replaces the one before, however often it is sent: whether it counted makes no difference.
    tally.replaced += await replace(deps, entry, 'sent_again');
  }
  const hours = groupBy(
    doubts.filter(({ mode }) => mode !== 'period_total'),
    (entry) => JSON.stringify(hourOf(entry)),
  );
  for (const [, entries] of hours) {
    if (input.signal?.aborted === true) break;
    await resolveHour(deps, entries, tally);
  }
  return tally;
}

function hourOf(entry: OutboxEntry): DestinationHour {
  return {
    stripeCustomerId: entry.stripeCustomerId ?? '',
    stripeMeterId: entry.stripeMeterId ?? '',
    hourMs: Math.floor(entry.timestampMs / HOUR_MS) * HOUR_MS,
  };
}

async function resolveHour(deps: ResolveDoubtsDeps, doubts: readonly OutboxEntry[], tally: Tally): Promise<void> {
  const [first] = doubts;
  if (first === undefined) return;
  const hour = hourOf(first);
  const ledger = await readLedger(deps, hour, first);
  const earlier = await deps.doubts.reading(hour);
  if (earlier?.isUndecided === true && earlier.reading.fingerprint === ledger.fingerprint) {
    tally.undecided += doubts.length;
    return;
  }
  if (!mayRead(deps, ledger, { earlier: earlier?.reading, reads: tally.reads })) {
    tally.waiting += doubts.length;
    return;
  }
  const nowMs = deps.clock.now();
  const stripe = await readTotal(deps, hour);
  tally.reads += 1;
  if (stripe === undefined) return leaveAll(deps, doubts, tally);
  await boundary('resolve.summary-read');
  const after = await readLedger(deps, hour, first);
  const { delivered, fingerprint } = after;
  const hasMoved = fingerprint !== ledger.fingerprint;
  const rule = { nowMs, lagMaxMs: deps.summaryLagMaxMs, rereadMs: deps.summaryRereadMs };
  const state = settleHour(
    { hourMs: hour.hourMs, delivered, stripe, fingerprint, ledger: after, hasMoved },
    earlier?.reading,
    rule,
  );
  if (!state.isSettled) {
    await deps.doubts.saveReading(hour, state.reading);
    tally.waiting += doubts.length;
    return;
  }
  await decide(deps, { hour, ledger: after, reading: state.reading }, tally);
}

/** Undefined where Stripe refuses, as for a customer that it no longer has: one such hour must not hold up the others. */
async function readTotal(deps: ResolveDoubtsDeps, hour: DestinationHour): Promise<Quantity | undefined> {
  try {
    return await deps.readTotal(hour);
  } catch (err) {
    if (refusalOf(err) === undefined) throw err;
    deps.log.error({ err, hour }, 'stripe refused an event summary');
    return undefined;
  }
}

async function readLedger(deps: ResolveDoubtsDeps, hour: DestinationHour, row: OutboxEntry): Promise<HourLedger> {
  return foldHour(await deps.doubts.ledgerOf(hour, row), deps.clock.now());
}

/** A reading is worth its cost once the lag has passed and, where there is an earlier one, far enough from it. */
function mayRead(
  deps: ResolveDoubtsDeps,
  ledger: HourLedger,
  context: { earlier: HourReading | undefined; reads: number },
): boolean {
  const nowMs = deps.clock.now();
  if (context.reads >= deps.summaryReadsMax || ledger.isUnanswered) return false;
  if (nowMs < ledger.lastAttemptAtMs + deps.summaryLagMaxMs) return false;
  const { earlier } = context;
  return earlier?.fingerprint !== ledger.fingerprint || nowMs >= earlier.atMs + deps.summaryRereadMs;
}

async function decide(
  deps: ResolveDoubtsDeps,
  settled: { hour: DestinationHour; ledger: HourLedger; reading: HourReading },
  tally: Tally,
): Promise<void> {
  const { hour, ledger, reading } = settled;
  const inDoubt = ledger.entries.filter(({ state }) => state === 'in_doubt');
  const found = await deps.entries.findAll(inDoubt.map(({ identifier }) => identifier));
  // Another run, or a person, may have decided since.
  const entries = found.filter(({ state }) => state === 'in_doubt');
  const decision = decideDoubts(ledger, reading.stripe);
  for (const entry of entries) {
    switch (decision) {
      case 'counted':
        tally.confirmed += await confirm(deps, entry);
        break;
      case 'uncounted':
        tally.replaced += await replace(deps, entry, 'not_counted');
        break;
      case 'undecided':
        tally.undecided += await leaveUndecided(deps, entry);
    }
  }
  if (decision === 'undecided') await deps.doubts.saveReading(hour, reading, true);
  else await deps.doubts.forget(hour);
}

async function leaveAll(deps: ResolveDoubtsDeps, entries: readonly OutboxEntry[], tally: Tally): Promise<void> {
  for (const entry of entries) tally.undecided += await leaveUndecided(deps, entry);
}

async function confirm(deps: ResolveDoubtsDeps, entry: OutboxEntry): Promise<number> {
  const moved = await deps.entries.move({ entry, change: 'confirm', atMs: deps.clock.now(), reason: 'counted' });
  await boundary('resolve.doubt-confirmed');
  return moved === undefined ? 0 : 1;
}

async function replace(deps: ResolveDoubtsDeps, entry: OutboxEntry, reason: string): Promise<number> {
  const at = new Date(deps.clock.now());
  const isReplaced = await deps.replace(entry.identifier, { reason, at, from: ['in_doubt'] });
  await boundary('resolve.doubt-replaced');
  return isReplaced ? 1 : 0;
}

async function leaveUndecided(deps: ResolveDoubtsDeps, entry: OutboxEntry): Promise<number> {
  if (entry.reason === 'undecided') return 1;
  const { identifier, customerId, meter } = entry;
  await deps.entries.move({ entry, change: 'leave-undecided', atMs: deps.clock.now(), reason: 'undecided' });
  await boundary('resolve.left-undecided');
  deps.log.error({ submission: identifier, customerId, meter }, 'a submission in doubt needs a decision');
  return 1;
}

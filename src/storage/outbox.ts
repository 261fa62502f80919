import { type Db, Decimal128 } from 'mongodb';
import type { Meter } from '../domain/meter.ts';
import { canonicalQuantity, compareQuantities } from '../domain/quantity.ts';
import { isAnswered } from '../domain/submission.ts';
import type { NextFigure, PlannableRow, PlannedSubmission, RowPlan } from '../domain/submission-plan.ts';
import { HOUR_MS } from '../domain/window.ts';
import { type MeterSubmissionDocument, MeterSubmissions } from './meter-submissions.ts';
import { type Planned, type PlannedMove, UsageAggregates } from './usage-aggregates.ts';
import { rowKey } from './usage-derivation.ts';
import { UniqueValues } from './unique-values.ts';
import { periodKey, UsagePeriods } from './usage-periods.ts';

/** Rows that planning takes at a time. */
const ROWS_PER_BATCH = 500;

/** What planning reads and writes: rows that are due, and the submissions made of them. */
export class Outbox {
  readonly #aggregates: UsageAggregates;
  readonly #periods: UsagePeriods;
  readonly #values: UniqueValues;
  readonly #submissions: MeterSubmissions;
  /** How distinct counts grew, by row and revision: a long catch-up asks for one row's steps many times. */
  readonly #growth = new Map<string, { windowStart: Date; count: number }[]>();

  constructor(db: Db) {
    this.#aggregates = new UsageAggregates(db);
    this.#periods = new UsagePeriods(db);
    this.#values = new UniqueValues(db);
    this.#submissions = new MeterSubmissions(db);
  }

  /** Windows of additive meters that ended by an instant and are due. */
  async *dueWindows(meters: readonly string[], endedByMs: number): AsyncGenerator<PlannableRow[]> {
    if (meters.length === 0) return;
    const rows = this.#aggregates.planDue({ windowEndMax: new Date(endedByMs), meters, batchSize: ROWS_PER_BATCH });
    for await (const batch of rows) {
      yield batch.map((row) => ({
        subject: 'window' as const,
        customerId: row._id.customerId,
        meter: row._id.meter,
        startMs: row._id.windowStart.getTime(),
        endMs: row.windowEnd.getTime(),
        quantity: canonicalQuantity(row.quantity.toString()),
        revision: row.revision,
        ...(row.planned && { planned: toPlannedSoFar(row.planned) }),
      }));
    }
  }

  /** Periods of the other meters that are due. */
  async *duePeriods(meters: readonly string[]): AsyncGenerator<PlannableRow[]> {
    if (meters.length === 0) return;
    for await (const batch of this.#periods.planDue({ meters, batchSize: ROWS_PER_BATCH })) {
      yield batch.map((row) => ({
        subject: 'period' as const,
        customerId: row._id.customerId,
        meter: row._id.meter,
        startMs: row._id.periodStart.getTime(),
        endMs: row.periodEnd.getTime(),
        isEmpty: row.eventCount === 0,
        quantity: canonicalQuantity(row.quantity.toString()),
        revision: row.revision,
        ...(row.planned && { planned: toPlannedSoFar(row.planned) }),
      }));
    }
  }

  /** The rows among these whose last submission Stripe has not answered for good. */
  async unanswered(rows: readonly PlannableRow[]): Promise<Set<string>> {
    const identifiers = rows.flatMap((row) => (row.planned === undefined ? [] : [row.planned.identifier]));
    if (identifiers.length === 0) return new Set();
    const found = await this.#submissions.findAll(identifiers);
    return new Set(found.filter(({ state }) => !isAnswered(state)).map(({ _id }) => _id));
  }

  /**
   * The next step of a period's running figure: the first window, in time order, that moved it beyond what was planned.
   * Hour by hour or in one long catch-up, the same usage gives the same meter events.
   * @param endedByMs windows that end later are left for the next time.
   */
  async nextFigure(row: PlannableRow, meter: Meter, endedByMs: number): Promise<NextFigure | undefined> {
    // Windows in its range belong to another period by now; nothing more can come, so there is nothing to wait for.
    if (row.isEmpty === true) return this.#correction(row, Number.POSITIVE_INFINITY);
    switch (meter.aggregation) {
      case 'max':
        return this.#nextWindow(row, { endedByMs, comparison: 'above', fromMs: row.startMs });
      case 'last':
        // The planned window itself too: a late fact may have changed it.
        return (
          (await this.#nextWindow(row, {
            endedByMs,
            comparison: 'different',
            fromMs: row.planned?.atMs ?? row.startMs,
          })) ?? this.#lastBeforePlanned(row, endedByMs)
        );
      case 'unique':
        return this.#nextDistinct(row, endedByMs);
      case 'sum':
      case 'count':
        return { quantity: row.quantity, atMs: row.startMs };
    }
  }

  async #nextWindow(
    row: PlannableRow,
    query: { endedByMs: number; comparison: 'above' | 'different'; fromMs: number },
  ): Promise<NextFigure | undefined> {
    const found = await this.#aggregates.firstAbove({
      customerId: row.customerId,
      meter: row.meter,
      from: new Date(query.fromMs),
      to: new Date(row.endMs),
      quantity: Decimal128.fromString(row.planned?.quantity ?? '0'),
      windowEndMax: new Date(query.endedByMs),
      comparison: query.comparison,
    });
    if (found !== null) {
      return { quantity: canonicalQuantity(found.quantity.toString()), atMs: found._id.windowStart.getTime() };
    }
    return query.comparison === 'above' ? this.#correction(row, query.endedByMs) : undefined;
  }

  /** Where the windows that planning had come to hold no facts any more (a calendar changed), the last one before. */
  async #lastBeforePlanned(row: PlannableRow, endedByMs: number): Promise<NextFigure | undefined> {
    const { planned, customerId, meter } = row;
    if (planned === undefined || planned.atMs + HOUR_MS > endedByMs) return undefined;
    const lastIn = async (fromMs: number, toMs: number): Promise<string | undefined> => {
      const range = { customerId, meter, from: new Date(fromMs), to: new Date(toMs) };
      const rows = await this.#aggregates.range(range);
      const last = rows.findLast(({ eventCount, windowEnd }) => eventCount > 0 && windowEnd.getTime() <= endedByMs);
      return last && canonicalQuantity(last.quantity.toString());
    };
    // One that is still there holds what was planned: the figure moved in a window that has not ended.
    if ((await lastIn(planned.atMs, row.endMs)) !== undefined) return undefined;
    const quantity = (await lastIn(row.startMs, Math.min(planned.atMs, row.endMs))) ?? '0';
    return quantity === planned.quantity ? undefined : { quantity, atMs: planned.atMs };
  }

  /** A figure that went down: stamped where planning stands. */
  #correction(row: PlannableRow, endedByMs: number): NextFigure | undefined {
    if (row.planned === undefined || row.planned.atMs + HOUR_MS > endedByMs) return undefined;
    const hasFallen = compareQuantities(row.quantity, row.planned.quantity) < 0;
    return hasFallen ? { quantity: row.quantity, atMs: row.planned.atMs } : undefined;
  }

  async #nextDistinct(row: PlannableRow, endedByMs: number): Promise<NextFigure | undefined> {
    const key = `${row.customerId}\u001f${row.meter}\u001f${row.startMs}\u001f${row.revision}`;
    let steps = this.#growth.get(key);
    if (steps === undefined) {
      const range = {
        customerId: row.customerId,
        meter: row.meter,
        from: new Date(row.startMs),
        to: new Date(row.endMs),
      };
      steps = await this.#values.growth(range);
      this.#growth.set(key, steps);
    }
    const planned = Number(row.planned?.quantity ?? '0');
    const step = steps.find(({ count }) => count > planned);
    if (step === undefined) return this.#correction(row, endedByMs);
    if (step.windowStart.getTime() + HOUR_MS > endedByMs) return undefined;
    return { quantity: String(step.count), atMs: step.windowStart.getTime() };
  }

  /** Forgets remembered steps; called when a planning run ends. */
  forget(): void {
    this.#growth.clear();
  }

  /**
   * Stores planned submissions, then moves their rows on. Where an identifier exists already (an earlier run stopped in
   * between), the stored submission says what was planned.
   */
  async store(plans: readonly RowPlan[], at: Date, between: () => Promise<void>): Promise<number> {
    const submits = plans.flatMap((plan) => (plan.kind === 'submit' ? [plan] : []));
    const existing = await this.#submissions.insertAll(submits.map(({ submission }) => toDocument(submission, at)));
    await between();
    const stored = existing.size === 0 ? [] : await this.#submissions.findAll([...existing]);
    const storedById = new Map(stored.map((document) => [document._id, document]));
    const moves = plans.map((plan): PlannedMove & { subject: string } => {
      const { row } = plan;
      const base = { subject: row.subject, key: keyOf(row), previousSequence: row.planned?.sequence ?? 0 };
      if (plan.kind === 'settled') return { ...base, doneRevision: row.revision };
      const earlier = storedById.get(plan.submission.identifier);
      return {
        ...base,
        planned: toPlanned(plan.submission, earlier),
        ...(plan.complete && earlier === undefined && { doneRevision: row.revision }),
      };
    });
    await this.#aggregates.movePlanned(moves.filter(({ subject }) => subject === 'window'));
    await this.#periods.movePlanned(moves.filter(({ subject }) => subject === 'period'));
    return submits.length - existing.size;
  }
}

function keyOf(row: PlannableRow): Record<string, unknown> {
  const start = new Date(row.startMs);
  return row.subject === 'window'
    ? { ...rowKey(row.customerId, row.meter, start) }
    : { ...periodKey(row.customerId, row.meter, start) };
}

function toPlannedSoFar(planned: Planned): NonNullable<PlannableRow['planned']> {
  return {
    sequence: planned.sequence,
    quantity: canonicalQuantity(planned.quantity.toString()),
    identifier: planned.identifier,
    atMs: planned.at.getTime(),
  };
}

function toPlanned(submission: PlannedSubmission, earlier: MeterSubmissionDocument | undefined): Planned {
  return {
    sequence: submission.sequence,
    quantity: earlier?.toQuantity ?? Decimal128.fromString(submission.toQuantity),
    identifier: submission.identifier,
    at: earlier?.timestamp ?? new Date(submission.timestampMs),
  };
}

function toDocument(submission: PlannedSubmission, at: Date): MeterSubmissionDocument {
  return {
    _id: submission.identifier,
    customerId: submission.customerId,
    meter: submission.meter,
    subject: submission.subject,
    subjectStart: new Date(submission.startMs),
    sequence: submission.sequence,
    fromQuantity: Decimal128.fromString(submission.fromQuantity),
    toQuantity: Decimal128.fromString(submission.toQuantity),
    value: Decimal128.fromString(submission.value),
    timestamp: new Date(submission.timestampMs),
    state: submission.blocked === undefined ? 'planned' : 'blocked',
    ...(submission.blocked === undefined ? { dueAt: at } : { reason: submission.blocked }),
    attempts: 0,
    storedAnswers: 0,
    declines: 0,
    history: [],
    plannedAt: at,
  };
}

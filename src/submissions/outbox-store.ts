import { type Db, Decimal128 } from 'mongodb';
import { lateIdentifier, type LateNote } from './late-usage.ts';
import { groupBy } from '../platform/grouping.ts';
import type { Meter } from '../meters/meter.ts';
import type { StampedEntry } from './planning/stamped-figure.ts';
import { isAnswered } from './submission.ts';
import type { NextFigure, PlannableRow, PlannedSoFar, PlannedSubmission, RowPlan } from './planning/submission-plan.ts';
import { LateSubmissions } from './late-submissions-store.ts';
import { type MeterSubmissionDocument, MeterSubmissions, untried } from './meter-submissions-store.ts';
import { PeriodEntries } from './planning/period-entries-store.ts';
import { toPeriodRow, toWindowRow } from './planning/plannable-rows-store.ts';
import { type Planned, type PlannedMove, UsageAggregates } from '../aggregation/usage-aggregates-store.ts';
import { rowKey } from '../aggregation/usage-derivation-store.ts';
import { type FigureContext, RunningFigures } from './planning/running-figures-store.ts';
import { type PeriodKey, periodKey, UsagePeriods } from '../aggregation/usage-periods-store.ts';

/** Which rows planning asks for. */
interface DueQuery {
  readonly meters: readonly string[];
  readonly customerId?: string;
}

/** What `store` made. */
export interface StoredPlans {
  /** Submissions. */
  readonly planned: number;
  /** Submissions that were never to be sent, with their late-usage entries. */
  readonly late: number;
}

/** Why a period's entry without value is there. */
const TAKEN_OVER = 'calendar_changed';
/** Rows that planning takes at a time. */
const ROWS_PER_BATCH = 500;

/** What planning reads and writes: rows that are due, and the submissions made of them. */
export class Outbox {
  readonly #aggregates: UsageAggregates;
  readonly #periods: UsagePeriods;
  readonly #figures: RunningFigures;
  readonly #entries: PeriodEntries;
  readonly #submissions: MeterSubmissions;
  readonly #late: LateSubmissions;

  constructor(db: Db) {
    this.#aggregates = new UsageAggregates(db);
    this.#periods = new UsagePeriods(db);
    this.#figures = new RunningFigures(db);
    this.#entries = new PeriodEntries(db);
    this.#submissions = new MeterSubmissions(db);
    this.#late = new LateSubmissions(db);
  }

  /** Windows of additive meters that ended by an instant and are due. */
  async *dueWindows(query: DueQuery & { endedByMs: number }): AsyncGenerator<PlannableRow[]> {
    const { endedByMs, ...due } = query;
    if (due.meters.length === 0) return;
    const rows = this.#aggregates.planDue({ ...due, windowEndMax: new Date(endedByMs), batchSize: ROWS_PER_BATCH });
    for await (const batch of rows) {
      yield batch.map(toWindowRow);
    }
  }

  /** Periods of the other meters that are due. */
  async *duePeriods(query: DueQuery): AsyncGenerator<PlannableRow[]> {
    if (query.meters.length === 0) return;
    for await (const batch of this.#periods.planDue({ ...query, batchSize: ROWS_PER_BATCH })) {
      yield batch.map(toPeriodRow);
    }
  }

  /** The rows among these whose last submission Stripe has not answered for good. */
  async unanswered(rows: readonly PlannableRow[]): Promise<Set<string>> {
    const identifiers = rows.flatMap((row) => (row.planned === undefined ? [] : [row.planned.identifier]));
    if (identifiers.length === 0) return new Set();
    const found = await this.#submissions.findAll(identifiers);
    return new Set(found.filter(({ state }) => !isAnswered(state)).map(({ _id }) => _id));
  }

  /** Of those, the ones that a changed calendar gave up. */
  async formerPeriods(query: { meters: readonly string[]; customerId?: string }): Promise<PlannableRow[]> {
    return (await this.#periods.formerDue(query)).map(toPeriodRow);
  }

  /** The figure that the next submission of a row is to reach: see submissions/planning/running-figures-store. */
  nextFigure(row: PlannableRow, meter: Meter, context: FigureContext): Promise<NextFigure | undefined> {
    return this.#figures.next(row, meter, context);
  }

  /** The submissions stamped inside each row's period, whichever period they were made for. */
  stampedIn(rows: readonly PlannableRow[]): Promise<Map<PlannableRow, StampedEntry[]>> {
    return this.#entries.stampedIn(rows);
  }

  /** Forgets remembered steps; called when a planning run ends. */
  forget(): void {
    this.#figures.forget();
  }

  /**
   * Stores planned submissions, then moves their rows on. Where an identifier exists already (an earlier run stopped in
   * between), the stored submission says what was planned, also where the figure changed back since. Several steps of one
   * row come in order.
   */
  async store(plans: readonly RowPlan[], at: Date, between: () => Promise<void>): Promise<StoredPlans> {
    const chains = [...groupBy(plans, ({ row }) => JSON.stringify(keyOf(row))).values()];
    const existing = await this.#insert(chains, at);
    await between();
    // Before the rows move on: else a stop in between would leave a period that counts less than is stamped in it.
    await this.#periods.setDue(plans.flatMap(stampedPeriods));
    const isNew = (plan: RowPlan): boolean => plan.kind !== 'settled' && !existing.has(plan.submission.identifier);
    const late = plans.flatMap((plan) => (plan.kind === 'late' && isNew(plan) ? [toDocument(plan, at)] : []));
    await this.#late.makeEntries(late, at);
    const left = plans.flatMap((plan) => (plan.kind === 'settled' ? [plan.nextIdentifier] : []));
    const stored = await this.#submissions.findAll([...existing, ...left]);
    const storedById = new Map(stored.map((document) => [document._id, document]));
    const moves = chains.flatMap((steps) => moveOf(steps, { existing, stored: storedById }));
    await this.#aggregates.movePlanned(moves.filter(({ subject }) => subject === 'window'));
    await this.#periods.movePlanned(moves.filter(({ subject }) => subject === 'period'));
    return { planned: plans.filter((plan) => plan.kind === 'submit' && isNew(plan)).length, late: late.length };
  }

  /**
   * Returns the identifiers of those that it did not insert. Of several steps of one row, none is inserted after one that
   * exists already: it would go on from a figure that was never planned.
   */
  async #insert(chains: readonly (readonly RowPlan[])[], at: Date): Promise<Set<string>> {
    const documents = chains.map((steps) =>
      steps.flatMap((plan) => (plan.kind === 'settled' ? [] : [toDocument(plan, at)])),
    );
    const single = documents.filter(({ length }) => length === 1).flat();
    const several = documents.filter(({ length }) => length > 1);
    const existing = [
      await this.#submissions.insertAll(single),
      ...(await Promise.all(several.map((steps) => this.#submissions.insertInOrder(steps)))),
    ];
    return new Set(existing.flatMap((ids) => [...ids]));
  }
}

/** Where a row stands once its steps are stored: at the last of them that is, in order. */
function moveOf(
  steps: readonly RowPlan[],
  found: { existing: ReadonlySet<string>; stored: ReadonlyMap<string, MeterSubmissionDocument> },
): (PlannedMove & { subject: string })[] {
  const [first] = steps;
  if (first === undefined) return [];
  const isMissing = (step: RowPlan): boolean =>
    step.kind !== 'settled' &&
    found.existing.has(step.submission.identifier) &&
    !found.stored.has(step.submission.identifier);
  const missing = steps.findIndex(isMissing);
  const plan = steps[(missing === -1 ? steps.length : missing) - 1] ?? first;
  const { row } = first;
  const { subject, revision, planned: before } = row;
  const base = { subject, key: keyOf(row), previousSequence: before?.sequence ?? 0, revision };
  if (plan.kind === 'settled') {
    const left = found.stored.get(plan.nextIdentifier);
    if (left !== undefined) return [{ ...base, planned: asPlanned(left), isDone: false }];
    // What is stamped in it is kept, for when a changed calendar makes it no period of the customer any more.
    const counted = row.isCounted === true && row.planned ? { planned: toCounted(row.planned) } : {};
    return [{ ...base, ...counted, isDone: true }];
  }
  const earlier = found.stored.get(plan.submission.identifier);
  const isDone = plan.complete && earlier === undefined;
  const isTakenOver = first.kind === 'take-over' && !found.existing.has(first.submission.identifier);
  return [
    {
      ...base,
      planned: toPlanned(plan.submission, earlier),
      isDone,
      isTakenOver,
    },
  ];
}

function keyOf(row: PlannableRow): Record<string, unknown> {
  const start = new Date(row.startMs);
  return row.subject === 'window'
    ? { ...rowKey(row.customerId, row.meter, start) }
    : { ...periodKey(row.customerId, row.meter, start) };
}

function stampedPeriods(plan: RowPlan): PeriodKey[] {
  if (plan.kind === 'settled') return [];
  const { customerId, meter } = plan.row;
  return (plan.stampedIn ?? []).map((startMs) => periodKey(customerId, meter, new Date(startMs)));
}

function toCounted({ sequence, quantity, identifier, atMs, mode }: PlannedSoFar): Planned {
  const counted = { sequence, quantity: Decimal128.fromString(quantity), identifier, at: new Date(atMs) };
  return { ...counted, ...(mode && { mode }) };
}

function toPlanned(submission: PlannedSubmission, earlier: MeterSubmissionDocument | undefined): Planned {
  if (earlier !== undefined) return asPlanned(earlier);
  return {
    sequence: submission.sequence,
    quantity: Decimal128.fromString(submission.toQuantity),
    identifier: submission.identifier,
    at: new Date(submission.timestampMs),
    ...(submission.mode && { mode: submission.mode }),
  };
}

/** What a stored submission says was planned. */
function asPlanned({ sequence, toQuantity, _id, timestamp, mode }: MeterSubmissionDocument): Planned {
  return { sequence, quantity: toQuantity, identifier: _id, at: timestamp, ...(mode === 'period_total' && { mode }) };
}

function toDocument(plan: Exclude<RowPlan, { kind: 'settled' }>, at: Date): MeterSubmissionDocument {
  const { submission } = plan;
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
    ...untried(at),
    ...(submission.mode && { mode: submission.mode }),
    ...stateFields(plan, at),
  };
}

type StateFields = Pick<MeterSubmissionDocument, 'state' | 'history'> & Partial<MeterSubmissionDocument>;

function stateFields(plan: Exclude<RowPlan, { kind: 'settled' }>, at: Date): StateFields {
  if (plan.kind === 'late') return bornLate(plan.submission.identifier, plan.late, at);
  if (plan.kind === 'submit') return unsent(plan.submission, at);
  return { state: 'replaced', reason: TAKEN_OVER, history: [{ at, change: 'replace', reason: TAKEN_OVER }] };
}

function unsent({ blocked, dueAtMs }: PlannedSubmission, at: Date): StateFields {
  if (blocked === undefined) {
    return { state: 'planned', dueAt: dueAtMs === undefined ? at : new Date(dueAtMs), history: [] };
  }
  return { state: 'blocked', reason: blocked, history: [] };
}

/** Never to be sent, and stored all the same: whoever plans the same step finds its identifier taken. */
function bornLate(identifier: string, note: LateNote, at: Date): StateFields {
  const { reason } = note;
  const history = [{ at, change: 'replace' as const, reason }];
  return { state: 'replaced', reason, replacedBy: lateIdentifier(identifier), latePending: note, history };
}

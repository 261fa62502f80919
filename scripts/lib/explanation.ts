import { explainUnbilled, explainUnknown } from '../../src/reconciliation/unbilled-usage.ts';
import { daysOf, type ExplainedDay } from './explained-days.ts';
import { fitLast, left, right, section, shortInstant, type TableParts } from './fitted-table.ts';
import { renderTable } from './table.ts';

/** The answer of `GET /v1/customers/{customerId}/explain`, as far as it is shown. */
export interface Explanation {
  readonly customerId: string;
  readonly meter: string;
  readonly unit: string;
  readonly aggregation: string;
  readonly from: string;
  readonly to: string;
  readonly billing: {
    readonly invoices: readonly {
      readonly invoiceId: string;
      readonly status: string;
      readonly from: string;
      readonly to: string;
      readonly quantity?: string;
    }[];
    readonly unbilled: readonly {
      readonly reason: string;
      readonly from: string;
      readonly to: string;
      readonly quantity: string;
    }[];
    readonly unbilledUnknown?: string;
  };
  readonly totals: Readonly<Record<'sent' | 'submitted' | 'windows' | 'raw', string>>;
  readonly between: Readonly<Record<string, string>>;
  readonly equal: boolean;
  readonly submissions: readonly ExplainedSubmission[];
  readonly lateUsage: readonly {
    readonly id: string;
    readonly timestamp: string;
    readonly quantity: string;
    readonly reason: string;
    readonly state: string;
  }[];
  readonly periods?: readonly (ExplainedFigure & { readonly setBy?: { readonly from: string } })[];
  readonly windows: readonly (ExplainedFigure & { readonly figure?: string; readonly setsFigure?: boolean })[];
  /** Where they are asked for. */
  readonly days?: readonly ExplainedDay[];
  readonly facts: {
    readonly from: string;
    readonly to: string;
    readonly quantity: string;
    readonly eventCount: number;
    readonly data: readonly ExplainedFact[];
    readonly nextCursor: string | null;
    readonly hasMore: boolean;
  };
}

interface ExplainedFigure {
  readonly from: string;
  readonly to: string;
  readonly quantity: string;
  readonly eventCount: number;
  readonly raw: { readonly quantity: string; readonly eventCount: number };
}

interface ExplainedSubmission {
  readonly identifier: string;
  /** `window`, `period`, `late` or `heal`. */
  readonly subject: string;
  readonly timestamp: string;
  readonly value: string;
  readonly state: string;
  readonly reason?: string;
  readonly attempts: number;
  readonly acceptedAt?: string;
  readonly cancellation?: { readonly state: string; readonly at: string; readonly reason?: string };
  readonly offsetBy?: string;
}

export interface ExplainedFact {
  readonly kind?: string;
  readonly idempotencyKey: string;
  readonly occurredAt: string;
  readonly receivedAt: string;
  readonly value: string | null;
  readonly userId?: string;
  readonly properties?: Readonly<Record<string, string | boolean>>;
  readonly reason?: string;
  readonly actor?: string;
}

/** What a figure comes to, from the bill down to the facts. */
export const LEVELS = [
  ['sent', 'sent to Stripe, and taken in time for its invoice'],
  ['submitted', 'meter events'],
  ['windows', 'what was derived'],
  ['raw', 'usage events and adjustments'],
] as const;
const NAMES: Readonly<Record<string, string>> = {
  inFlight: 'submitted, on its way',
  blocked: 'submitted, blocked',
  rejected: 'submitted, rejected',
  notInvoiced: 'taken by Stripe after its invoice was final',
  carriedIn: 'late usage of earlier periods that is billed here',
  late: 'late usage',
  notPlanned: 'not submitted yet',
  unexplained: 'not explained by any of these',
  notDerived: 'not derived yet',
};

/** What of an explanation is shown. */
export interface ShownParts {
  /** Every row of every table. */
  readonly all: boolean;
  /** With the raw facts of an hour: the tables are then of that hour alone. */
  readonly facts: boolean;
  /** Days in UTC instead of windows. */
  readonly byDay?: boolean;
}

/** Level by level, at most 100 columns wide but for ids and numbers, which are whole. */
export function renderExplanation(whole: Explanation, show: ShownParts): string {
  const of = show.facts ? ofHour(whole) : whole;
  const head = `${of.customerId}  ${of.meter} (${of.aggregation}, ${of.unit})  ${shortInstant(of.from)} to ${shortInstant(of.to)}`;
  const sections = [
    head,
    renderLevels(of),
    renderBilling(of),
    submissionSection(of, show.all),
    section(`late usage (${of.lateUsage.length})`, show.all, lateTable(of)),
    section(`billing periods (${of.periods?.length ?? 0})`, show.all, periodTable(of)),
    show.byDay === true ? daySection(of) : section(`windows (${of.windows.length})`, show.all, windowTable(of)),
    show.facts ? renderFacts(of) : `raw facts: ${of.facts.eventCount} counted; --hour INSTANT shows those of an hour`,
  ];
  return sections.filter((text) => text !== '').join('\n\n');
}

/** What lies in the range of the facts. Stamps are cut to seconds. */
function ofHour(of: Explanation): Explanation {
  const [from, to] = [Math.floor(Date.parse(of.facts.from) / 1000) * 1000, Date.parse(of.facts.to)];
  const isIn = (text: string): boolean => Date.parse(text) >= from && Date.parse(text) < to;
  return {
    ...of,
    submissions: of.submissions.filter(({ timestamp }) => isIn(timestamp)),
    lateUsage: of.lateUsage.filter(({ timestamp }) => isIn(timestamp)),
    windows: of.windows.filter((window) => isIn(window.from)),
  };
}

function renderLevels({ totals, between, equal }: Explanation): string {
  const rows = LEVELS.map(([level, what]) => [level, totals[level], what]);
  const gaps = Object.entries(between).filter(([, quantity]) => quantity !== '0');
  const verdict = equal ? 'equal at every level' : 'not equal at every level:';
  const table = renderTable([left('level'), right('quantity'), left('')], rows);
  if (equal || gaps.length === 0) return `${table}\n${verdict}`;
  const reasons = renderTable(
    [right('quantity'), left('why')],
    gaps.map(([name, quantity]) => [quantity, NAMES[name] ?? name]),
  );
  return `${table}\n${verdict}\n\n${reasons}`;
}

/** On which invoices it is, as Stripe told; and what nothing bills. */
function renderBilling({ billing }: Explanation): string {
  const { invoices, unbilled, unbilledUnknown } = billing;
  const lines = invoices.map(({ invoiceId, status, from, to, quantity = '?' }) => {
    const state = status === 'draft' ? 'a draft: Stripe computes it anew when it finalises' : status;
    return `on invoice ${invoiceId} (${state}): ${quantity} from ${shortInstant(from)} to ${shortInstant(to)}`;
  });
  const nothing = unbilled.map(({ reason, from, to, quantity }) => {
    return `nothing bills ${quantity} from ${shortInstant(from)} to ${shortInstant(to)}: ${explainUnbilled(reason)}`;
  });
  const unknown =
    unbilledUnknown === undefined ? [] : [`whether anything bills it is not known: ${explainUnknown(unbilledUnknown)}`];
  return [...(lines.length === 0 ? ['on no invoice so far'] : lines), ...nothing, ...unknown].join('\n');
}

function submissionSection({ submissions }: Explanation, all: boolean): string {
  const table = section(`meter events (${submissions.length})`, all, {
    columns: [left('stamp'), right('value'), left('state'), right('tries'), left('identifier')],
    rows: submissions.map((submission) => {
      const { timestamp, value, attempts, identifier } = submission;
      return [shortInstant(timestamp), value, stateText(submission), String(attempts), identifier];
    }),
  });
  const heals = submissions.filter(isHeal).length;
  if (heals === 0) return table;
  return `${table}\n${heals} of them ${heals === 1 ? 'is a heal' : 'are heals'}: in no sum above, since what they make up for is counted elsewhere`;
}

function isHeal({ subject }: ExplainedSubmission): boolean {
  return subject === 'heal';
}

const CANCELLATIONS: Readonly<Record<string, string>> = {
  calling: 'being cancelled',
  done: 'cancelled',
  refused: 'cancellation refused',
};

/** Whether it is a heal, the state, why, and whether Stripe was asked to take it out of its total. */
function stateText(submission: ExplainedSubmission): string {
  const { state, reason, cancellation, offsetBy } = submission;
  const told = [...(isHeal(submission) ? ['heal'] : []), reason === undefined ? state : `${state}: ${reason}`];
  if (cancellation !== undefined) told.push(CANCELLATIONS[cancellation.state] ?? cancellation.state);
  if (offsetBy !== undefined) told.push('taken back');
  return told.join(', ');
}

function lateTable({ lateUsage }: Explanation): TableParts {
  return {
    columns: [left('stamp'), right('quantity'), left('why'), left('state'), left('id')],
    rows: lateUsage.map(({ timestamp, quantity, reason, state, id }) => {
      return [shortInstant(timestamp), quantity, reason, state, id];
    }),
  };
}

function periodTable({ periods = [] }: Explanation): TableParts {
  return {
    columns: [left('from'), left('to'), right('figure'), right('facts'), right('raw'), left('set by the window')],
    rows: periods.map(({ from, to, quantity, eventCount, raw, setBy }) => {
      const set = setBy === undefined ? undefined : shortInstant(setBy.from);
      return [shortInstant(from), shortInstant(to), quantity, String(eventCount), raw.quantity, set];
    }),
  };
}

function windowTable({ windows }: Explanation): TableParts {
  const isRunning = windows.some(({ figure }) => figure !== undefined);
  return {
    columns: [
      left('from'),
      left('to'),
      right('quantity'),
      right('facts'),
      right('raw'),
      ...(isRunning ? [right('figure'), left('')] : []),
    ],
    rows: windows.map(({ from, to, quantity, eventCount, raw, figure, setsFigure }) => [
      shortInstant(from),
      shortInstant(to),
      quantity,
      String(eventCount),
      raw.quantity,
      ...(isRunning ? [figure, setsFigure === true ? 'sets it' : ''] : []),
    ]),
  };
}

/** All days: they are few. */
function daySection(of: Explanation): string {
  const days = daysOf(of);
  const isRunning = days.some(({ figure }) => figure !== undefined);
  const numbers = isRunning
    ? [right('facts'), right('figure'), left('')]
    : [right('quantity'), right('facts'), right('raw')];
  return section(`days in UTC (${days.length})`, true, {
    columns: [left('day'), ...numbers],
    rows: days.map(({ from, quantity, eventCount, raw, figure, setsFigure }) => [
      from.slice(0, 'YYYY-MM-DD'.length),
      ...(isRunning
        ? [String(eventCount), figure, setsFigure === true ? 'sets it' : '']
        : [quantity, String(eventCount), raw.quantity]),
    ]),
  });
}

function renderFacts({ facts }: Explanation): string {
  const hasUsers = facts.data.some(({ userId }) => userId !== undefined);
  const columns = [left('occurred'), right('value'), left('key'), ...(hasUsers ? [left('user')] : []), left('what')];
  const rows = facts.data.map((fact) => [
    fact.occurredAt,
    fact.value ?? 'uncountable',
    fact.idempotencyKey,
    ...(hasUsers ? [fact.userId] : []),
    describe(fact),
  ]);
  const title = `raw facts from ${shortInstant(facts.from)} to ${shortInstant(facts.to)}: ${facts.quantity} from ${facts.eventCount} counted`;
  const more = facts.hasMore ? '\n… and more (--limit)' : '';
  return `${title}\n${renderTable(columns, fitLast(columns, rows))}${more}`;
}

function describe({ kind, properties = {}, reason, actor }: ExplainedFact): string {
  if (kind === 'adjustment') return `adjustment by ${actor ?? '?'}: ${reason ?? ''}`;
  return Object.entries(properties)
    .map(([name, value]) => `${name}=${String(value)}`)
    .join(' ');
}

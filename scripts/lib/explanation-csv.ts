import { daysOf } from './explained-days.ts';
import { renderCsv } from './csv-table.ts';
import { type Explanation, LEVELS } from './explanation.ts';

const HEADINGS = [
  'level',
  'from',
  'to',
  'quantity',
  'facts',
  'id',
  'state',
  'reason',
  'attempts',
  'acceptedAt',
  'cancellation',
  'cancellationAt',
  'offsetBy',
  'subject',
  'user',
  'properties',
  'figure',
  'receivedAt',
  'actor',
  'customer',
  'meter',
] as const;

type Row = Partial<Record<(typeof HEADINGS)[number], string>>;

/**
 * Every row of every level of some explanations, one after the other; `level` says which.
 * @param show.byDay days in UTC instead of windows.
 * @param show.isFactsOnly only raw facts: a sum over their quantities is one over usage.
 */
export function renderExplanationCsv(
  explanations: readonly Explanation[],
  show: { byDay: boolean; isFactsOnly?: boolean },
): string {
  const rows = explanations.flatMap((of) =>
    (show.isFactsOnly === true ? factRows(of) : rowsOf(of, show)).map((row): Row => ({
      ...row,
      customer: of.customerId,
      meter: of.meter,
    })),
  );
  return renderCsv(
    HEADINGS,
    rows.map((row) => HEADINGS.map((heading) => row[heading])),
  );
}

function rowsOf(of: Explanation, { byDay }: { byDay: boolean }): Row[] {
  return [
    ...LEVELS.map(([level]): Row => ({ level, from: of.from, to: of.to, quantity: of.totals[level] })),
    ...billingRows(of),
    ...submissionRows(of),
    ...of.lateUsage.map(({ timestamp, quantity, id, state, reason }): Row => {
      return { level: 'late_usage', from: timestamp, quantity, id, state, reason };
    }),
    ...(of.periods ?? []).map((period) => ({ level: 'period', ...figureOf(period) })),
    ...(byDay
      ? daysOf(of).map((day) => ({ level: 'day', ...figureOf(day) }))
      : of.windows.map((window) => ({ level: 'window', ...figureOf(window) }))),
    ...factRows(of),
  ];
}

function billingRows({ billing }: Explanation): Row[] {
  return [
    ...billing.invoices.map(({ invoiceId, status, from, to, quantity }): Row => {
      return { level: 'invoice', from, to, id: invoiceId, state: status, ...(quantity !== undefined && { quantity }) };
    }),
    ...billing.unbilled.map((part): Row => ({ level: 'unbilled', ...part })),
  ];
}

function submissionRows({ submissions }: Explanation): Row[] {
  return submissions.map((submission): Row => {
    const { identifier, subject, timestamp, value, state, reason, attempts, acceptedAt, cancellation, offsetBy } =
      submission;
    return {
      level: 'meter_event',
      from: timestamp,
      quantity: value,
      id: identifier,
      subject,
      state,
      attempts: String(attempts),
      ...(reason !== undefined && { reason }),
      ...(acceptedAt !== undefined && { acceptedAt }),
      ...(cancellation && { cancellation: cancellation.state, cancellationAt: cancellation.at }),
      ...(offsetBy !== undefined && { offsetBy }),
    };
  });
}

function figureOf(of: { from: string; to: string; quantity?: string; eventCount: number; figure?: string }): Row {
  const { from, to, quantity, eventCount, figure } = of;
  return {
    from,
    to,
    facts: String(eventCount),
    ...(quantity !== undefined && { quantity }),
    ...(figure !== undefined && { figure }),
  };
}

/** Properties are one cell of JSON; their numbers are exact decimal texts. */
function factRows({ facts }: Explanation): Row[] {
  return facts.data.map((fact): Row => {
    const { occurredAt, receivedAt, value, idempotencyKey, kind = 'event', reason, userId, properties, actor } = fact;
    return {
      level: 'fact',
      from: occurredAt,
      id: idempotencyKey,
      state: kind,
      receivedAt,
      ...(value !== null && { quantity: value }),
      ...(reason !== undefined && { reason }),
      ...(actor !== undefined && { actor }),
      ...(userId !== undefined && { user: userId }),
      ...(properties !== undefined && { properties: JSON.stringify(properties) }),
    };
  });
}

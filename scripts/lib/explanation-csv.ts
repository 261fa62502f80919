import { renderCsv } from './csv-table.ts';
import { type Explanation, LEVELS } from './explanation.ts';

const CSV_HEADINGS = [
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
];

/** Every row of every level; `level` says which. */
export function renderExplanationCsv(of: Explanation): string {
  const rows: (string | undefined)[][] = LEVELS.map(([level]) => [level, of.from, of.to, of.totals[level]]);
  for (const { invoiceId, status, from, to, quantity } of of.billing.invoices) {
    rows.push(['invoice', from, to, quantity, undefined, invoiceId, status]);
  }
  for (const { reason, from, to, quantity } of of.billing.unbilled) {
    rows.push(['unbilled', from, to, quantity, undefined, undefined, undefined, reason]);
  }
  for (const submission of of.submissions) {
    const { timestamp, value, identifier, state, reason, attempts, acceptedAt, cancellation, offsetBy } = submission;
    rows.push([
      'meter_event',
      timestamp,
      undefined,
      value,
      undefined,
      identifier,
      state,
      reason,
      String(attempts),
      acceptedAt,
      cancellation?.state,
      cancellation?.at,
      offsetBy,
    ]);
  }
  for (const { timestamp, quantity, id, state, reason } of of.lateUsage) {
    rows.push(['late_usage', timestamp, undefined, quantity, undefined, id, state, reason]);
  }
  for (const { from, to, quantity, eventCount } of of.periods ?? []) {
    rows.push(['period', from, to, quantity, String(eventCount)]);
  }
  for (const { from, to, quantity, eventCount } of of.windows) {
    rows.push(['window', from, to, quantity, String(eventCount)]);
  }
  for (const { occurredAt, value, idempotencyKey, kind = 'event', reason } of of.facts.data) {
    rows.push(['fact', occurredAt, undefined, value ?? undefined, undefined, idempotencyKey, kind, reason]);
  }
  return renderCsv(
    CSV_HEADINGS,
    rows.map((row) => CSV_HEADINGS.map((_heading, index) => row[index])),
  );
}

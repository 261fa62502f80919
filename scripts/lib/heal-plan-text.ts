import { renderTable } from './table.ts';

/** What mends one hour, as the API tells it. */
export interface PlanAction {
  readonly kind: string;
  readonly hourMs: number;
  readonly quantity: string;
  readonly identifiers?: readonly string[];
  readonly identifier?: string;
  readonly reason?: string;
}

/** The plan of one comparison. */
export interface PlannedRow {
  readonly customerId: string;
  readonly meter: string;
  readonly plan: readonly PlanAction[];
}

/** What each kind of action does, in a few words. */
const MEANING: Readonly<Record<string, string>> = {
  replace: 'send again what Stripe lost',
  'top-up': 'send the difference',
  'take-back': 'cancel what counted twice',
  confirm: 'confirm what counted',
  person: 'a person decides',
};

/** Usage that no submission of ours explains: a person may have it taken back. */
const ACCEPTABLE = 'stripe_holds_more';

function changeOf({ kind, reason, quantity }: PlanAction): string | undefined {
  if (reason === ACCEPTABLE) return `${quantity} with --accept-surplus`;
  return kind === 'person' ? undefined : quantity;
}

/** A table of plans, an action a line. */
export function renderPlan(rows: readonly PlannedRow[]): string {
  const headings = ['customer', 'meter', 'hour', 'what', 'submission or reason'].map((heading) => ({ heading }));
  const change = { heading: 'changes Stripe by', align: 'right' as const };
  const lines = rows.flatMap(({ customerId, meter, plan }) =>
    plan.map((action) => [
      customerId,
      meter,
      new Date(action.hourMs).toISOString().slice(0, 16),
      MEANING[action.kind] ?? action.kind,
      action.identifiers?.join(' ') ?? action.identifier ?? action.reason,
      changeOf(action),
    ]),
  );
  return renderTable([...headings, change], lines);
}

/**
 * What waits for a human, as one list: `doctor`, `status`, the API and the metrics all show this one. A fact says what
 * was found; the table below says in words what it means and which command helps.
 */

import { explainUnbilled, explainUnknown } from '../reconciliation/unbilled-usage.ts';
import { BLOCKED_TODO } from './blocked-advice.ts';
import { REFUSED_TODO } from '../webhooks/webhook-reception.ts';

export type ReviewArea = 'submissions' | 'usage' | 'unbilled' | 'invoices' | 'reconciliation' | 'webhooks' | 'jobs';

export const REVIEW_AREAS: readonly ReviewArea[] = [
  'submissions',
  'usage',
  'unbilled',
  'invoices',
  'reconciliation',
  'webhooks',
  'jobs',
];

/** One finding, as the stores tell it. */
export interface ReviewFact {
  readonly kind: ReviewKind;
  /** How many there are, at least one. */
  readonly count: number;
  /** Why, as a code or a short text. */
  readonly reason?: string;
  /** Since when the oldest waits, UTC milliseconds. */
  readonly sinceMs?: number;
  /** Some of the ids concerned, at most `REVIEW_EXAMPLES_MAX`. */
  readonly examples?: readonly string[];
}

/** A finding in words. */
export interface ReviewItem extends ReviewFact {
  readonly area: ReviewArea;
  readonly what: string;
  /** The command or the step that helps. */
  readonly todo: string;
}

/** Ids that a finding names; the verbs list the others. */
export const REVIEW_EXAMPLES_MAX = 5;

interface Wording {
  readonly area: ReviewArea;
  /** What was found, without the examples. */
  what(fact: ReviewFact): string;
  todo(fact: ReviewFact): string;
}

const WORDINGS = {
  submitting_paused: {
    area: 'submissions',
    what: ({ sinceMs = 0, reason }) =>
      `submitting is paused since ${new Date(sinceMs).toISOString()}${inBrackets(reason)}: nothing is sent to Stripe`,
    todo: () => 'run `tallystick submit --resume`; after a restore from a backup see docs/restore.md first',
  },
  submissions_blocked: {
    area: 'submissions',
    what: ({ count, reason = '' }) => `${many(count, 'submission is', 'submissions are')} blocked: ${reason}`,
    todo: ({ reason = '' }) => BLOCKED_TODO[reason] ?? 'docs/runbook.md says what each reason needs',
  },
  submissions_rejected: {
    area: 'submissions',
    what: ({ count, reason = 'no reason given' }) =>
      `${many(count, 'submission was', 'submissions were')} rejected by Stripe: ${reason}`,
    todo: () =>
      '`tallystick submissions list --state rejected` lists them; mend the cause, or `tallystick submit resend <identifier>`',
  },
  submissions_undecided: {
    area: 'submissions',
    what: ({ count }) =>
      `${many(count, 'submission has', 'submissions have')} no known outcome, and Stripe's totals do not tell`,
    todo: () =>
      'compare with Stripe, then `tallystick submit decide <identifier> --counted yes|no`; `tallystick submissions list --state in_doubt` lists them',
  },
  submissions_overdue: {
    area: 'submissions',
    what: (fact) => `submissions wait in state ${fact.reason ?? ''} to be sent${since(fact)}`,
    todo: () =>
      'look at `tallystick status` (the breaker) and at Stripe; they go out by themselves once Stripe takes them',
  },
  uncountable_facts: {
    area: 'usage',
    what: ({ count }) => `a meter could not count ${many(count, 'event', 'events')}: the value is missing or no number`,
    todo: () =>
      'correct what the application sends, and what is missing with `tallystick adjust`; `tallystick meters list` names the properties',
  },
  events_rejected: {
    area: 'usage',
    what: ({ count, reason = '' }) => `${many(count, 'event was', 'events were')} refused within a day: ${reason}`,
    todo: ({ reason = '' }) =>
      `\`tallystick rejected list --code ${reason}\` shows them: correct the sender, and each with \`tallystick rejected replay\`, or \`tallystick rejected delete\``,
  },
  condition_type_differs: {
    area: 'usage',
    what: ({ reason = '', examples = [] }) => `the meter ${examples[0] ?? ''}: ${reason}`,
    todo: () =>
      'let the application send the type that the meter counts, or make a meter that counts what is sent: `where` may hold both types',
  },
  journal_overdue: {
    area: 'usage',
    what: (fact) => `${many(fact.count, 'journal entry waits', 'journal entries wait')} to be aggregated${since(fact)}`,
    todo: () => 'see that a daemon with the role `worker` runs, and what `tallystick doctor jobs` says',
  },
  customer_hours_set_aside: {
    area: 'usage',
    what: (fact) =>
      `${many(fact.count, 'customer-hour', 'customer-hours')} cannot be aggregated: ${fact.reason ?? ''}${since(fact)}`,
    todo: () =>
      'mend what the reason names; they are tried again in every run, and `tallystick aggregate` runs one now',
  },
  late_usage: {
    area: 'usage',
    what: (fact) =>
      `${many(fact.count, 'piece of usage', 'pieces of usage')} came too late for the invoice (${fact.reason ?? ''})${since(fact)}`,
    todo: () => '`tallystick late list` shows them; decide with `tallystick late decide`',
  },
  usage_unbilled: {
    area: 'unbilled',
    what: ({ count, reason = '' }) =>
      `nothing bills usage of ${many(count, 'meter of a customer', 'meters of customers')} that Stripe holds: ${explainUnbilled(reason)}`,
    todo: () =>
      '`tallystick unbilled` lists it, docs/runbook.md says what each reason needs; where it is meant to be so, ' +
      'tallystick customers put <id> \'{"unbilledReason":"…"}\'',
  },
  billing_unknown: {
    area: 'unbilled',
    what: ({ reason = '' }) =>
      `it is not known whether anything bills the usage that was sent: ${explainUnknown(reason)}`,
    todo: () =>
      'the daemon reads the subscriptions within a minute of its start: `tallystick doctor jobs` says why it did not',
  },
  invoices_held: {
    area: 'invoices',
    what: ({ count }) => `${many(count, 'invoice is', 'invoices are')} held: usage and event summaries differ`,
    todo: () =>
      '`tallystick reconcile guards` shows both numbers; they are released when equal, or by `tallystick reconcile release`',
  },
  invoices_differing: {
    area: 'invoices',
    what: ({ count }) => `${many(count, 'final invoice does', 'final invoices do')} not bill what was used`,
    todo: () => '`tallystick reconcile guards --state all` shows the lines; see docs/invoice-guard.md',
  },
  plans_waiting: {
    area: 'reconciliation',
    what: ({ count, reason = '' }) =>
      `${many(count, 'heal plan waits', 'heal plans wait')} for approval in run ${reason}`,
    todo: ({ reason = '' }) =>
      `look at it with \`tallystick reconcile approve ${reason} --actor <name> --dry-run\`, then without --dry-run; what Stripe ` +
      'holds beyond anything of ours is taken back only with --accept-surplus: see docs/runbook.md',
  },
  aggregates_exceed_raw: {
    area: 'reconciliation',
    what: ({ count }) =>
      `${many(count, 'aggregate counts', 'aggregates count')} more than the stored events: raw usage was lost or erased`,
    todo: () => 'see docs/restore.md; restore the events, or let the aggregates be derived again',
  },
  webhooks_failed: {
    area: 'webhooks',
    what: ({ count }) => `${many(count, 'event of Stripe', 'events of Stripe')} failed`,
    todo: () => '`tallystick inbox list --state failed` says why; `tallystick inbox retry <event>` tries again',
  },
  webhooks_refused: {
    area: 'webhooks',
    what: (fact) =>
      `${many(fact.count, 'delivery', 'deliveries')} of Stripe to the ${fact.examples?.[0] ?? ''} destination ` +
      `refused, and none taken${since(fact)}: ${fact.reason ?? ''}`,
    todo: ({ reason = '' }) => REFUSED_TODO[reason] ?? 'docs/errors.md says what each code needs',
  },
  webhooks_overdue: {
    area: 'webhooks',
    what: (fact) =>
      `${many(fact.count, 'event of Stripe waits', 'events of Stripe wait')} to be processed${since(fact)}`,
    todo: () => 'see that a daemon with the role `worker` runs, and what `tallystick doctor jobs` says',
  },
  no_job_taken: {
    area: 'jobs',
    what: (fact) => `no worker has taken a job from the queue${since(fact)}`,
    todo: () =>
      'see that a daemon with the roles `worker` and `ticker` runs, what it reaches (`tallystick doctor daemon`), and that Redis takes writes (`tallystick doctor redis`)',
  },
  no_sweep: {
    area: 'jobs',
    what: (fact) => `nobody has looked for work that is due${since(fact)}`,
    todo: () =>
      'see that a daemon with the role `ticker` runs, what it reaches (`tallystick doctor daemon`), and its log',
  },
  runs_not_begun: {
    area: 'jobs',
    what: (fact) =>
      `${many(fact.count, 'run that was asked for has', 'runs that were asked for have')} not begun${since(fact)}`,
    todo: () => 'see that a daemon with the role `worker` runs and that Redis takes writes; they begin by themselves',
  },
  job_failing: {
    area: 'jobs',
    what: (fact) => `${fact.examples?.[0] ?? 'a job'} failed ${fact.count} times in a row: ${fact.reason ?? ''}`,
    todo: () => "look at the daemon's log for the first failure",
  },
  items_refused: {
    area: 'jobs',
    what: ({ count, reason = '', examples = [] }) =>
      `${reason} went on without ${many(count, 'item', 'items')} that Stripe refused: ${examples.join('; ')}`,
    todo: () => 'correct what is named (`tallystick customers put` maps a customer); docs/runbook.md has each reason',
  },
  job_overdue: {
    area: 'jobs',
    what: (fact) => `${fact.examples?.[0] ?? 'a job'} has not succeeded${since(fact)}`,
    todo: () => 'see that a daemon with the roles `ticker` and `worker` runs, that Redis takes writes, and its log',
  },
} as const satisfies Record<string, Wording>;

export type ReviewKind = keyof typeof WORDINGS;

/** Kinds whose examples are named beside the finding; elsewhere they are a part of its sentence. */
const NAMED: ReadonlySet<ReviewKind> = new Set([
  'usage_unbilled',
  'submissions_blocked',
  'submissions_rejected',
  'plans_waiting',
]);

/** Puts a finding into words. */
export function toReviewItem(fact: ReviewFact): ReviewItem {
  const wording: Wording = WORDINGS[fact.kind];
  const examples = NAMED.has(fact.kind) ? nameExamples(fact) : '';
  return { ...fact, area: wording.area, what: `${wording.what(fact)}${examples}`, todo: wording.todo(fact) };
}

function nameExamples({ count, examples = [] }: ReviewFact): string {
  if (examples.length === 0) return '';
  const shown = examples.slice(0, REVIEW_EXAMPLES_MAX);
  return ` (${shown.join(', ')}${examples.length > shown.length && count > shown.length ? ', …' : ''})`;
}

function many(count: number, one: string, several: string): string {
  return `${count} ${count === 1 ? one : several}`;
}

function inBrackets(text: string | undefined): string {
  return text === undefined ? '' : ` (${text})`;
}

function since({ sinceMs }: ReviewFact): string {
  return sinceMs === undefined ? '' : `, since ${new Date(sinceMs).toISOString()}`;
}

import { REVIEW_EXAMPLES_MAX, type ReviewFact, type ReviewItem, toReviewItem } from './needs-review.ts';
import { addQuantities } from '../platform/quantity.ts';
import { DELIVERED_STATES } from '../submissions/submission.ts';
import { refusalsThatMatter } from '../webhooks/webhook-reception.ts';
import { STANDSTILL_KINDS } from './standstill.ts';
import { DAY_MS } from '../platform/durations.ts';
import type { GaugeSource } from '../platform/http/metrics.ts';
import {
  isWholeReconciliation,
  type ReconciliationDocument,
  type ReconciliationRow,
} from '../reconciliation/reconciliations-store.ts';
import type { JobParts } from './job-parts.ts';
import { jobFacts, limitsOf, type ReviewParts } from './review-of-jobs.ts';
import { conditionFacts } from './silent-conditions.ts';
import type { Stores } from './stores.ts';

const DIFFERING_MS_MAX = 35 * DAY_MS;
/** Reconciliation runs that are looked through for the last one over all customers. */
const RUNS_LISTED_MAX = 50;
/** Read for examples of each reason. */
const UNBILLED_LISTED_MAX = 100;
const PLANS_LISTED_MAX = 1_000;

/** What says that work stands still, the most telling first: for a process to judge itself by. */
export async function readStandstill(parts: ReviewParts): Promise<ReviewItem[]> {
  const groups = await Promise.all([jobFacts(parts), usageFacts(parts), submissionFacts(parts), webhookFacts(parts)]);
  return groups
    .flat()
    .filter(({ kind }) => STANDSTILL_KINDS.has(kind))
    .map(toReviewItem);
}

/** Everything that waits for a human, in the order of the areas. */
export async function readNeedsReview(parts: ReviewParts): Promise<ReviewItem[]> {
  const groups = await Promise.all([
    submissionFacts(parts),
    usageFacts(parts),
    conditionFacts(parts.stores),
    unbilledFacts(parts),
    invoiceFacts(parts),
    reconciliationFacts(parts),
    webhookFacts(parts),
    jobFacts(parts),
  ]);
  return groups.flat().map(toReviewItem);
}

async function submissionFacts({ stores, config, nowMs }: ReviewParts): Promise<ReviewFact[]> {
  const [pause, blocked, rejected, undecided, oldest] = await Promise.all([
    stores.submittingPauses.find(),
    stores.submissions.blockedReasons(),
    stores.reviewCounts.rejectedReasons(),
    stores.doubts.countUndecided(),
    stores.submissions.oldestOpen(),
  ]);
  const limitMs = limitsOf(config).submissionsMs;
  const isSubmitting = config.stripeSecretKey !== undefined && pause === undefined;
  return [
    ...(pause === undefined
      ? []
      : [
          {
            kind: 'submitting_paused' as const,
            count: 1,
            sinceMs: pause.pausedAt.getTime(),
            ...(pause.reason !== undefined && { reason: pause.reason }),
          },
        ]),
    ...(await Promise.all(
      blocked.map(async ({ reason, count }) => ({
        kind: 'submissions_blocked' as const,
        count,
        reason,
        examples: await stores.reviewCounts.blockedCustomers({ reason, limit: REVIEW_EXAMPLES_MAX + 1 }),
      })),
    )),
    ...rejected.map(({ customers, ...fact }) => ({
      kind: 'submissions_rejected' as const,
      ...fact,
      examples: customers,
    })),
    ...counted('submissions_undecided', undecided),
    ...(['planned', 'sending'] as const).flatMap((state) => {
      const sinceMs = oldest.get(state)?.getTime();
      if (!isSubmitting || sinceMs === undefined || nowMs - sinceMs <= limitMs) return [];
      return [{ kind: 'submissions_overdue' as const, count: 1, reason: state, sinceMs }];
    }),
  ];
}

async function usageFacts({ stores, config, nowMs }: ReviewParts): Promise<ReviewFact[]> {
  const [uncountable, journal, late, rejected] = await Promise.all([
    stores.usageAggregates.countUncountable(),
    stores.dirtyHours.backlog(),
    stores.lateUsage.waiting(),
    stores.rejectedEvents.census(new Date(nowMs - DAY_MS)),
  ]);
  const sinceMs = journal.oldestOpenedAt?.getTime() ?? nowMs;
  return [
    ...counted('uncountable_facts', uncountable),
    ...rejected.map(({ code, count }) => ({ kind: 'events_rejected' as const, count, reason: code })),
    ...(nowMs - sinceMs > limitsOf(config).journalMs
      ? [{ kind: 'journal_overdue' as const, count: journal.entries, sinceMs }]
      : []),
    ...(journal.setAside === undefined
      ? []
      : [
          {
            kind: 'customer_hours_set_aside' as const,
            count: journal.setAside.customerHours,
            reason: journal.setAside.reason,
            sinceMs: journal.setAside.oldestAt.getTime(),
          },
        ]),
    ...late.map(({ reason, count, oldestAt }) => {
      return { kind: 'late_usage' as const, count, reason, sinceMs: oldestAt.getTime() };
    }),
  ];
}

/** Usage that nothing bills; where that is not known, it is a matter only once something was sent. */
async function unbilledFacts({ stores, config }: ReviewParts): Promise<ReviewFact[]> {
  if (config.stripeSecretKey === undefined) return [];
  const check = await stores.unbilledUsage.lastCheck();
  const unknown = check === undefined ? 'not_checked' : check.unknown;
  if (unknown !== undefined) {
    const census = await stores.submissions.census();
    const sent = census.filter(({ state }) => DELIVERED_STATES.includes(state));
    return sent.some(({ count }) => count > 0) ? [{ kind: 'billing_unknown', count: 1, reason: unknown }] : [];
  }
  const [reasons, found] = await Promise.all([
    stores.unbilledUsage.census(),
    stores.unbilledUsage.list({ accepted: false, limit: UNBILLED_LISTED_MAX }),
  ]);
  return reasons.map(({ reason, count }) => ({
    kind: 'usage_unbilled' as const,
    count,
    reason,
    examples: found
      .filter(({ parts }) => parts.some((part) => part.reason === reason))
      .slice(0, REVIEW_EXAMPLES_MAX + 1)
      .map(({ customerId, meter, unit, parts }) => {
        const ofReason = parts.filter((part) => part.reason === reason).map(({ quantity }) => quantity);
        return `${customerId}: ${addQuantities('0', ...ofReason)} ${unit} of ${meter}`;
      }),
  }));
}

async function invoiceFacts({ stores, nowMs }: ReviewParts): Promise<ReviewFact[]> {
  const [census, differing] = await Promise.all([
    stores.invoiceGuards.census(),
    stores.invoiceGuards.countDiffering(new Date(nowMs - DIFFERING_MS_MAX)),
  ]);
  const held = census.filter(({ state }) => state === 'held').reduce((sum, { count }) => sum + count, 0);
  return [...counted('invoices_held', held), ...counted('invoices_differing', differing)];
}

/** Plans that wait are those of the last run over all customers, as far as no later run looked at the same pair. */
async function reconciliationFacts({ stores }: ReviewParts): Promise<ReviewFact[]> {
  const runs = await stores.reconciliations.listRuns({ limit: RUNS_LISTED_MAX });
  const last = runs.findIndex(isWholeReconciliation);
  const relevant = last === -1 ? runs : runs.slice(0, last + 1);
  const exceeding = runs[last]?.aggregates.person.length ?? 0;
  return [...(await waitingPlans(stores, relevant)), ...counted('aggregates_exceed_raw', exceeding)];
}

async function waitingPlans(stores: Stores, runs: readonly ReconciliationDocument[]): Promise<ReviewFact[]> {
  const seen = new Set<string>();
  const facts: ReviewFact[] = [];
  for (const [index, { _id, waiting }] of runs.entries()) {
    const isOldest = index === runs.length - 1;
    // Of the oldest only the plans count; of a newer one every pair that it looked at.
    if (isOldest && waiting === 0) continue;
    const query = { run: _id, limit: PLANS_LISTED_MAX, ...(isOldest && { waits: true }) };
    const rows = (await stores.reconciliations.listRows(query)).filter((row) => !seen.has(keyOf(row)));
    for (const row of rows) seen.add(keyOf(row));
    const plans = rows.filter(({ waits }) => waits === true);
    const examples = [...new Set(plans.map((row) => row._id.customerId))];
    if (plans.length > 0) facts.push({ kind: 'plans_waiting', count: plans.length, reason: _id, examples });
  }
  return facts;
}

function keyOf({ _id }: ReconciliationRow): string {
  return JSON.stringify([_id.customerId, _id.meter, _id.periodStart.getTime()]);
}

async function webhookFacts({ stores, config, nowMs }: ReviewParts): Promise<ReviewFact[]> {
  const [census, receptions] = await Promise.all([stores.webhookInbox.census(), stores.webhookReceptions.list()]);
  const pending = census.find(({ state }) => state === 'pending');
  const sinceMs = pending?.oldestReceivedAt.getTime() ?? nowMs;
  return [
    ...counted('webhooks_failed', census.find(({ state }) => state === 'failed')?.count ?? 0),
    ...(pending !== undefined && nowMs - sinceMs > limitsOf(config).webhooksMs
      ? [{ kind: 'webhooks_overdue' as const, count: pending.count, sinceMs }]
      : []),
    ...refusalsThatMatter(receptions, nowMs).map(({ destination, outcome, count, firstAt }) => ({
      kind: 'webhooks_refused' as const,
      count,
      reason: outcome,
      sinceMs: firstAt.getTime(),
      examples: [destination],
    })),
  ];
}

function counted(kind: ReviewFact['kind'], count: number): ReviewFact[] {
  return count === 0 ? [] : [{ kind, count }];
}

/** One gauge to alert on: whatever waits for a human. */
export function reviewGauges({ stores, config, clock }: JobParts): GaugeSource[] {
  return [
    {
      name: 'needs_review',
      help: 'What waits for a human, by kind; `tallystick doctor` says what each needs.',
      labels: ['kind'],
      read: async () => {
        const counts = new Map<string, number>();
        for (const { kind, count } of await readNeedsReview({ stores, config, nowMs: clock.now() })) {
          counts.set(kind, (counts.get(kind) ?? 0) + count);
        }
        return [...counts].map(([kind, value]) => ({ value, labels: { kind } }));
      },
    },
  ];
}

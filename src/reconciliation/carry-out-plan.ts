import { boundary } from '../platform/boundary.ts';
import { type HealAction, stampOf } from './heal-plan.ts';
import { MINUTE_MS } from '../platform/durations.ts';
import { cancelSubmission, isCancellable } from './finish-cancellations.ts';
import type { CorrectionDeps, Pair } from './pair.ts';

/**
 * A plan is carried out at once or not at all: a process that stood still for longer leaves it to the next comparison.
 * This only saves corrections of corrections; that nothing is done twice rests on what each action names.
 */
const PLAN_AGE_MS_MAX = 10 * MINUTE_MS;
const SENT_STATES = ['accepted', 'duplicate', 'confirmed', 'in_doubt'] as const;

/** What is to be carried out, and when it was read. */
export interface PlanToCarryOut {
  readonly pair: Pair;
  readonly plan: readonly HealAction[];
  readonly readAtMs: number;
}

/**
 * Carries out a plan. Each action is decided by one write that only one process can make, so doing it twice, in several
 * places at once, or again after a stop, corrects once.
 * @returns how many corrections were made here.
 */
export async function carryOutPlan(deps: CorrectionDeps, work: PlanToCarryOut): Promise<number> {
  await boundary('reconcile.plan-made');
  let made = 0;
  for (const action of work.plan) {
    if (deps.clock.now() - work.readAtMs > PLAN_AGE_MS_MAX) break;
    made += await carryOut(deps, work.pair, action);
  }
  return made;
}

async function carryOut(deps: CorrectionDeps, pair: Pair, action: HealAction): Promise<number> {
  const at = new Date(deps.clock.now());
  switch (action.kind) {
    case 'replace':
      return replaceAll(deps, action.identifiers, at);
    case 'top-up': {
      const timestampMs = stampOf(action, { periodFromMs: pair.fromMs });
      const isMade = await deps.corrections.topUp({
        heal: healOf(deps, pair, action),
        timestampMs,
        value: action.quantity,
        at,
      });
      await boundary('reconcile.topped-up');
      return isMade ? 1 : 0;
    }
    case 'take-back':
      return (await takeBack(deps, pair, action)) ? 1 : 0;
    case 'confirm':
      await deps.submissions.confirmDoubt(action.identifier, 'counted', at);
      await boundary('correct.doubt-confirmed');
      return 0;
    case 'person':
      return 0;
  }
}

async function replaceAll(deps: CorrectionDeps, identifiers: readonly string[], at: Date): Promise<number> {
  let made = 0;
  for (const identifier of identifiers) {
    const isMade = await deps.submissions.replace(identifier, { reason: 'missing_at_stripe', at, from: SENT_STATES });
    made += isMade ? 1 : 0;
    await boundary('reconcile.submission-replaced');
  }
  return made;
}

/**
 * Cancels the submission while Stripe takes that, else takes it back by a negative delta. Both are decided on the
 * submission itself, against the number of calls that the plan was made on: only one of them can be, and only once.
 */
async function takeBack(
  deps: CorrectionDeps,
  pair: Pair,
  action: Extract<HealAction, { kind: 'take-back' }>,
): Promise<boolean> {
  const { identifier, cancelAttempts } = action;
  const found = await deps.corrections.findReplaced(identifier);
  if (found === undefined || found.isOffset || found.cancelAttempts !== cancelAttempts) return false;
  const nowMs = deps.clock.now();
  if (cancelAttempts === 0 && isCancellable(found, nowMs)) return cancelSubmission(deps, found);
  const heal = healOf(deps, pair, action);
  const isMade = await deps.corrections.offset(identifier, { cancelAttempts, heal, at: new Date(nowMs) });
  await boundary('correct.offset-made');
  return isMade;
}

function healOf(
  deps: CorrectionDeps,
  pair: Pair,
  { hourMs, number }: { hourMs: number; number: number },
): Parameters<CorrectionDeps['corrections']['topUp']>[0]['heal'] {
  const { installation } = deps;
  return { installation, customerId: pair.customer.customerId, meter: pair.meter.key, hourMs, number };
}

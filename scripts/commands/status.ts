import type { Command } from 'commander';
import type { Status } from '../../src/daemon/status-routes.ts';
import { explainUnbilled, explainUnknown } from '../../src/reconciliation/unbilled-usage.ts';
import { renderTable } from '../lib/table.ts';
import { createApiVerb, runVerb } from '../lib/verb.ts';

export function statusCommand(): Command {
  return createApiVerb({
    name: 'status',
    summary: 'Where the pipeline stands: what waits, what was sent, and what needs a human.',
    examples: ['tallystick status', "tallystick status --json | jq '.needsReview'"],
  }).action(async (_options: object, command: Command) => {
    await runVerb(command, async ({ api, output }) => {
      const status = await api().get<Status>('/v1/status');
      output.result(status, () => render(status));
    });
  });
}

function callsToStripe({ breaker, paused }: Status): string {
  if (breaker === undefined) return 'none: no key';
  if (paused === undefined) return `breaker ${breaker}`;
  const { pausedAt, reason } = paused;
  return `submitting paused since ${pausedAt}${reason === undefined ? '' : ` (${reason})`}, breaker ${breaker}`;
}

/** Why a run failed, or what it went on without. */
function troubleOf({ error, refused }: Status['lastRuns'][string]): string | undefined {
  if (error !== undefined) return `${error.code}: ${error.message}`;
  const [first] = refused?.first ?? [];
  if (refused === undefined || first === undefined) return undefined;
  const more = refused.count > 1 ? `, and ${refused.count - 1} more` : '';
  return `without ${first.item}: ${first.reason}${more}`;
}

function prunedText({ rejectedEventsPruned: pruned }: Status): string {
  return pruned === undefined
    ? ''
    : `, ${pruned.count} were removed because there were too many (last ${pruned.lastAt})`;
}

function unbilledText({ unbilled }: Status): string {
  const { unknown, checkedAt = 'never', accepted } = unbilled;
  if (unknown !== undefined) return `not known: ${explainUnknown(unknown)}`;
  const meant = accepted === 0 ? '' : `, and ${accepted} that are meant to be so`;
  const counts = unbilled.reasons.map(({ reason, count }) => `${count}: ${explainUnbilled(reason)}`);
  return `${counts.length === 0 ? 'none' : counts.join('; ')}${meant} (as of ${checkedAt})`;
}

function render(status: Status): string {
  const { journal, submissions, needsReview, lastRuns } = status;
  const oldest = journal.oldestOpenedAt === undefined ? '' : `, the oldest since ${journal.oldestOpenedAt}`;
  const lines = [
    `installation     ${status.installation}, version ${status.version}`,
    `to be aggregated ${journal.entries} journal entries${oldest}`,
    ...(journal.setAside === undefined
      ? []
      : [
          `set aside        ${journal.setAside.customerHours} customer-hours, since ${journal.setAside.oldestAt} (${journal.setAside.reason})`,
        ]),
    `to be planned    ${status.planDue} windows and periods`,
    `rejected events  ${status.rejectedEvents}${prunedText(status)}`,
    `uncountable      ${status.uncountable}`,
    `calls to Stripe  ${callsToStripe(status)}`,
    `unbilled usage   ${unbilledText(status)}`,
  ];
  const right = { heading: 'count', align: 'right' as const };
  const tables = [
    renderTable(
      [{ heading: 'submissions' }, right, { heading: 'oldest planned' }],
      submissions.map(({ state, count, oldestPlannedAt }) => [state, String(count), oldestPlannedAt ?? '']),
    ),
    renderTable(
      ['last run of', 'state', 'ended', 'because'].map((heading) => ({ heading })),
      Object.entries(lastRuns).map(([job, run]) => [job, run.state, run.endedAt, troubleOf(run)]),
    ),
  ];
  const review =
    needsReview.length === 0
      ? 'Nothing waits for a human.'
      : [
          'Waits for a human:',
          ...needsReview.flatMap(({ area, what, todo }) => [`- ${area}: ${what}`, `    ${todo}`]),
        ].join('\n');
  return [lines.join('\n'), ...tables, review].join('\n\n');
}

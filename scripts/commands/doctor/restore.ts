import { randomUUID } from 'node:crypto';
import {
  compareRestored,
  type RestoredComparison,
  type RestoredProgress,
  type UncomparedPair,
  type UnknownUsage,
} from '../../../src/reconciliation/compare-restored.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { loadConfig } from '../../../src/config.ts';
import { createLogger } from '../../../src/platform/logger.ts';
import { openRedis } from '../../../src/platform/redis/connection.ts';
import { openDatabase } from '../../../src/platform/mongo/database.ts';
import { compareRestoredDeps } from '../../../src/daemon/compare-restored.ts';
import { type JobParts, requireStripe } from '../../../src/daemon/job-parts.ts';
import { openStores } from '../../../src/daemon/stores.ts';
import { openStripeSide } from '../../../src/daemon/stripe-side.ts';
import { CommandError, interrupted } from '../../lib/command-error.ts';
import { EXIT, type ExitCode } from '../../lib/exit-codes.ts';
import type { Output } from '../../lib/output.ts';
import type { Progress } from '../../lib/progress.ts';
import { renderTable } from '../../lib/table.ts';
import type { VerbContext } from '../../lib/verb.ts';

/** What the comparison is worth. */
type Conclusion = 'not-caught-up' | 'forgotten' | 'not-compared' | 'too-early' | 'clear';

/**
 * Compares a ledger that was restored from a backup with Stripe, while submitting is paused, and says whether it can go
 * on.
 */
export async function checkRestore({ output, signal }: VerbContext): Promise<ExitCode> {
  return withParts(async (parts) => {
    const pause = await parts.stores.submittingPauses.find();
    if (pause === undefined) throw notPaused();
    let progress: Progress | undefined;
    const onProgress = ({ done, total, reads }: RestoredProgress): void => {
      progress ??= output.progress('comparing', total);
      progress.update(done, `${done} of ${total} comparisons, ${reads} reads of Stripe`);
    };
    const found = await compareRestored(compareRestoredDeps(parts), { signal, onProgress });
    progress?.clear();
    if (signal.aborted) throw interrupted('Nothing was changed; run it again.');
    const conclusiveAtMs = pause.pausedAt.getTime() + parts.config.summaryLagMaxMs;
    const caughtUpAt = (await parts.stores.runs.lastSuccess('catch-up-events'))?.startedAt;
    // A subscription that was made after the backup decides to which period usage belongs.
    const isCaughtUp = caughtUpAt !== undefined && caughtUpAt >= pause.pausedAt;
    const conclusion = isCaughtUp ? conclude(found, conclusiveAtMs) : 'not-caught-up';
    output.result({ conclusion, conclusiveAt: new Date(conclusiveAtMs).toISOString(), ...toJson(found) }, () =>
      [
        ...(found.unknown.length === 0 ? [] : [render(found.unknown)]),
        ...(found.refused.length === 0 ? [] : [renderRefused(found.refused)]),
      ].join('\n\n'),
    );
    say(output, { found, conclusion, conclusiveAtMs });
    return EXIT_CODES[conclusion];
  });
}

const EXIT_CODES: Readonly<Record<Conclusion, ExitCode>> = {
  'not-caught-up': EXIT.failure,
  clear: EXIT.ok,
  'too-early': EXIT.failure,
  'not-compared': EXIT.driftFound,
  forgotten: EXIT.driftFound,
};

function conclude({ unknown, refused }: RestoredComparison, conclusiveAtMs: number): Conclusion {
  if (unknown.length > 0) return 'forgotten';
  if (refused.length > 0) return 'not-compared';
  return Date.now() < conclusiveAtMs ? 'too-early' : 'clear';
}

function notPaused(): CommandError {
  return new CommandError({
    what: 'submitting is not paused',
    why: 'while usage is being sent, the comparison says nothing',
    todo: 'Run `tallystick submit --pause` first; docs/restore.md tells the whole way.',
  });
}

function say(
  output: Output,
  { found, conclusion, conclusiveAtMs }: { found: RestoredComparison; conclusion: Conclusion; conclusiveAtMs: number },
): void {
  const compared = `${found.compared} ${found.compared === 1 ? 'comparison' : 'comparisons'}`;
  const less = found.less === 0 ? '' : ` In ${found.less} it holds less: reconciliation deals with that.`;
  if (conclusion === 'not-caught-up') {
    output.note(
      `${compared}, which say nothing yet: what changed at Stripe since the backup (subscriptions, invoices) was not read. ` +
        'A daemon does that within a minute of its start, while submitting is paused; `tallystick status` shows when ' +
        'catch-up-events last succeeded.',
    );
    return;
  }
  if (conclusion === 'forgotten') {
    output.note(
      `${compared}: in ${found.unknown.length} of them Stripe holds more than this ledger knows to have sent.${less} ` +
        'Before submitting goes on, see docs/restore.md.',
    );
    return;
  }
  if (conclusion === 'not-compared') {
    output.note(
      `${compared} made, and ${found.refused.length} that Stripe refuses: of those nothing is known.${less} ` +
        'Correct what is named (`tallystick customers put` maps a customer), and compare again.',
    );
    return;
  }
  const clear = `${compared}: nowhere does Stripe hold more than this ledger knows to have sent.${less}`;
  if (conclusion === 'clear') {
    output.note(`${clear} Submitting can go on: \`tallystick submit --resume\`.`);
    return;
  }
  const until = new Date(conclusiveAtMs).toISOString();
  output.note(`${clear} Stripe's summaries may lag: ask again after ${until}, before submitting goes on.`);
}

function toJson({ compared, less, reads, unknown, refused }: RestoredComparison): object {
  const instant = (ms: number): string => new Date(ms).toISOString();
  return {
    compared,
    notCompared: refused.map(({ item: stripeCustomerId, ...pair }) => ({ ...pair, stripeCustomerId })),
    less,
    reads,
    more: unknown.map(({ periodFromMs, periodToMs, sinceMs, ...figures }) => ({
      ...figures,
      periodStart: instant(periodFromMs),
      periodEnd: instant(periodToMs),
      ...(sinceMs !== undefined && { since: instant(sinceMs) }),
    })),
  };
}

function render(unknown: readonly UnknownUsage[]): string {
  const number = (heading: string) => ({ heading, align: 'right' as const });
  return renderTable(
    [
      { heading: 'customer' },
      { heading: 'meter' },
      { heading: 'period' },
      number('counted here'),
      number('known as sent'),
      number('at Stripe'),
      { heading: 'more since' },
      { heading: 'invoice' },
    ],
    unknown.map((row) => [
      row.customerId,
      row.meter,
      `${minuteOf(row.periodFromMs)} to ${minuteOf(row.periodToMs)}`,
      row.counted,
      row.delivered,
      row.stripe,
      row.sinceMs === undefined ? undefined : minuteOf(row.sinceMs),
      row.isFinal ? 'final' : 'open',
    ]),
  );
}

function renderRefused(refused: readonly UncomparedPair[]): string {
  return renderTable(
    ['customer', 'meter', 'Stripe customer', 'not compared because', 'Stripe says'].map((heading) => ({ heading })),
    refused.map(({ customerId, meter, item, reason, message }) => [customerId, meter, item, reason, message]),
  );
}

function minuteOf(instantMs: number): string {
  return new Date(instantMs).toISOString().replace(':00.000Z', 'Z');
}

/** Lends the daemon's parts, as far as reading takes them, over what the environment names. */
async function withParts<T>(work: (parts: JobParts) => Promise<T>): Promise<T> {
  const config = loadConfig();
  const clock = systemClock;
  const log = createLogger({ level: 'silent' });
  const database = openDatabase({ uri: config.mongodbUri, name: config.mongodbDatabase });
  const redis = openRedis(config.redisUrl, () => {});
  try {
    const stores = openStores(database, { ...config, holder: randomUUID(), clock, log });
    // Nothing is planned here that would need an identifier.
    const installation = '';
    const parts = { config, stores, stripe: openStripeSide(config, redis, clock), installation, clock, log };
    requireStripe(parts);
    return await work(parts);
  } finally {
    redis.disconnect();
    await database.close();
  }
}

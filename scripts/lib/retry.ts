import { setTimeout as delay } from 'node:timers/promises';
import type { ApiAnswer } from './api-client.ts';
import { CommandError, interrupted } from './command-error.ts';
import { EXIT } from './exit-codes.ts';

export interface RetryOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told before each wait. */
  readonly onWait?: (reason: string, waitMs: number) => void;
}

const TRIES_MAX = 8;
/** How long a daemon that asks for fewer requests is obeyed: it is there, and takes some of them. */
const ASKED_MS_MAX = 10 * 60_000;
const TOO_MANY = 429;
const WAIT_MS_MIN = 250;
const WAIT_MS_MAX = 15_000;
const RETRIED_STATUSES: readonly number[] = [429, 502, 503, 504];

/**
 * Repeats a request that is safe to repeat while the daemon is away or asks for patience; `Retry-After` is obeyed,
 * otherwise the wait doubles, with full jitter. Being asked for fewer requests (429) is no failed try.
 * @returns the last answer, also when it is still a refusal.
 */
export async function withRetries(request: () => Promise<ApiAnswer>, options: RetryOptions = {}): Promise<ApiAnswer> {
  let tries = 0;
  let askedMs = 0;
  for (;;) {
    const outcome = await attempt(request);
    const isAsked = 'answer' in outcome && outcome.answer.status === TOO_MANY;
    if (!isAsked) tries += 1;
    const isLast = tries >= TRIES_MAX || askedMs >= ASKED_MS_MAX;
    if ('answer' in outcome && (isLast || !RETRIED_STATUSES.includes(outcome.answer.status))) return outcome.answer;
    if ('error' in outcome && isLast) throw outcome.error;
    const ceiling = Math.min(WAIT_MS_MAX, WAIT_MS_MIN * 2 ** tries);
    const asked = 'answer' in outcome ? outcome.answer.retryAfterMs : undefined;
    const waitMs = Math.round(
      (asked ?? 0) + WAIT_MS_MIN / 2 + Math.random() * (asked === undefined ? ceiling : WAIT_MS_MIN),
    );
    if (isAsked) askedMs += waitMs;
    options.onWait?.('answer' in outcome ? `answer ${outcome.answer.status}` : outcome.error.message, waitMs);
    await delay(waitMs, undefined, { ...(options.signal && { signal: options.signal }) }).catch(() => {});
    if (options.signal?.aborted === true) throw interrupted();
  }
}

async function attempt(request: () => Promise<ApiAnswer>): Promise<{ answer: ApiAnswer } | { error: CommandError }> {
  try {
    return { answer: await request() };
  } catch (error) {
    if (error instanceof CommandError && error.exitCode === EXIT.dependencyDown) return { error };
    throw error;
  }
}

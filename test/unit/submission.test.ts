import { describe, expect, it } from 'vitest';
import { firstLookAtMs, nextLookAtMs, REPLACEMENTS_MAX } from '../../src/submissions/resolving/mending.ts';
import {
  changeFor,
  isAnswered,
  isAnswerStored,
  replacementIdentifier,
  replacementNumber,
  retryDelayMs,
  type SendOutcome,
  stateAfter,
  statesBefore,
  SUBMISSION_STATES,
  type SubmissionChange,
  type SubmissionState,
} from '../../src/submissions/submission.ts';
import { HOUR_MS } from '../../src/platform/durations.ts';
import { idempotencyKeyFor, identifierOfKey } from '../../src/stripe/idempotency-key.ts';

/** Every way out of every state. */
const WAYS: Readonly<Record<SubmissionState, Partial<Record<SubmissionChange, SubmissionState>>>> = {
  planned: { attempt: 'sending', block: 'blocked', replace: 'replaced' },
  sending: {
    accept: 'accepted',
    'find-duplicate': 'duplicate',
    decline: 'planned',
    'decline-in-doubt': 'in_doubt',
    'lose-answer': 'in_doubt',
    reject: 'rejected',
    block: 'blocked',
  },
  in_doubt: {
    attempt: 'sending',
    postpone: 'in_doubt',
    confirm: 'confirmed',
    reject: 'rejected',
    'leave-undecided': 'in_doubt',
    replace: 'replaced',
  },
  accepted: { confirm: 'confirmed', reject: 'rejected', replace: 'replaced' },
  duplicate: { confirm: 'confirmed', reject: 'rejected', replace: 'replaced' },
  confirmed: { reject: 'rejected', replace: 'replaced' },
  blocked: { unblock: 'planned', block: 'blocked', replace: 'replaced' },
  rejected: { 'keep-rejected': 'rejected', replace: 'replaced' },
  replaced: {},
};
const CHANGES = [...new Set(Object.values(WAYS).flatMap((ways) => Object.keys(ways)))] as SubmissionChange[];

describe('the states of a submission', () => {
  it.each(SUBMISSION_STATES)('are left from %s only by the ways that are meant', (state) => {
    const found = Object.fromEntries(
      CHANGES.flatMap((change) => {
        const next = stateAfter(state, change);
        return next === undefined ? [] : [[change, next]];
      }),
    );
    expect(found).toEqual(WAYS[state]);
  });

  it('can be replaced from wherever the value may still have to go out, once', () => {
    expect(statesBefore('replace')).toEqual(SUBMISSION_STATES.filter((s) => s !== 'sending' && s !== 'replaced'));
  });

  it('hold up the next figure of their row while Stripe has not answered for good', () => {
    const open = SUBMISSION_STATES.filter((state) => !isAnswered(state));
    expect(open).toEqual(['planned', 'sending', 'blocked', 'in_doubt']);
  });
});

const OUTCOMES: Readonly<Record<SendOutcome['kind'], SendOutcome>> = {
  accepted: { kind: 'accepted' },
  duplicate: { kind: 'duplicate' },
  declined: { kind: 'declined', reason: 'rate_limit' },
  'server-error': { kind: 'server-error', reason: 'http_500' },
  unanswered: { kind: 'unanswered', reason: 'no_answer' },
  rejected: { kind: 'rejected', reason: 'payload_invalid_value', message: '' },
  blocked: { kind: 'blocked', reason: 'meter_inactive' },
};

/** What went before: nothing in doubt; a lost answer under the same key; an answer of 5xx, so under another key. */
const EARLIER = {
  certain: { isDoubtful: false, storedAnswers: 0 },
  'in doubt, same key': { isDoubtful: true, storedAnswers: 0 },
  'in doubt, other key': { isDoubtful: true, storedAnswers: 1 },
} as const;

describe('what came of an attempt', () => {
  it.each([
    ['accepted', 'accepted', 'accepted', 'accepted'],
    ['duplicate', 'duplicate', 'duplicate', 'duplicate'],
    ['declined', 'planned', 'in_doubt', 'in_doubt'],
    ['server-error', 'in_doubt', 'in_doubt', 'in_doubt'],
    ['unanswered', 'in_doubt', 'in_doubt', 'in_doubt'],
    ['rejected', 'rejected', 'rejected', 'in_doubt'],
    ['blocked', 'blocked', 'blocked', 'in_doubt'],
  ] as const)('%s leads to %s, to %s after a lost answer, and to %s after a 5xx', (kind, ...states) => {
    const found = Object.values(EARLIER).map((earlier) => stateAfter('sending', changeFor(OUTCOMES[kind], earlier)));
    expect(found).toEqual(states);
  });

  it('is kept by Stripe under its key where it was an error of the endpoint', () => {
    const stored = Object.values(OUTCOMES).filter(isAnswerStored);
    expect(stored.map(({ kind }) => kind)).toEqual(['server-error', 'rejected', 'blocked']);
  });

  it.each(['declined', 'server-error', 'unanswered', 'rejected', 'blocked'] as const)(
    'is followed by a wait that grows within bounds after %s',
    (kind) => {
      const longest = [1, 2, 5, 100].map((tries) => retryDelayMs(OUTCOMES[kind], tries, 0.999_999));
      const shortest = [1, 100].map((tries) => retryDelayMs(OUTCOMES[kind], tries, 0));
      expect(longest).toEqual([...longest].sort((a, b) => a - b));
      expect(longest.at(-1)).toBeLessThanOrEqual(HOUR_MS);
      expect(Math.min(...shortest)).toBeGreaterThan(100);
    },
  );
});

describe('names', () => {
  const identifier = 'ab12cd34:acme:calls:w20260615T08:1';

  it.each([identifier, `${identifier}~2`])('are found again behind every key that %s was sent under', (name) => {
    for (const storedAnswers of [0, 1, 12]) {
      expect(identifierOfKey(idempotencyKeyFor(name, storedAnswers))).toBe(name);
    }
  });

  it('number the replacements of one original', () => {
    const second = replacementIdentifier(replacementIdentifier(identifier));
    expect(second).toBe(`${identifier}~2`);
    expect([identifier, second].map(replacementNumber)).toEqual([0, 2]);
  });
});

describe('a rejected submission', () => {
  const rejected = { identifier: 'a:b:c:w1:1', reason: 'meter_event_customer_not_found', rejectedAtMs: 1_000 };

  it('is looked at at once, each replacement later, and after the last one not at all', () => {
    const looks = Array.from({ length: REPLACEMENTS_MAX + 1 }, (_, number) => {
      const identifier = number === 0 ? rejected.identifier : `${rejected.identifier}~${number}`;
      return firstLookAtMs({ ...rejected, identifier });
    });
    expect(looks[0]).toBe(1_000);
    expect(looks.at(-1)).toBeUndefined();
    expect(looks.slice(0, -1)).toEqual(looks.slice(0, -1).sort((a, b) => (a ?? 0) - (b ?? 0)));
  });

  it.each(['payload_invalid_value', 'timestamp_too_far_in_past', 'anything_else'])(
    'waits for a person: %s',
    (reason) => {
      expect(firstLookAtMs({ ...rejected, reason })).toBeUndefined();
    },
  );

  it('is looked at more and more seldom, and at least each hour', () => {
    const waits = [0, HOUR_MS, 2 * HOUR_MS, 100 * HOUR_MS].map((waitedMs) => nextLookAtMs(waitedMs, 0));
    expect(waits).toEqual([HOUR_MS / 6, HOUR_MS / 4, HOUR_MS / 2, HOUR_MS]);
  });
});

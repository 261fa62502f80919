import { describe, expect, it } from 'vitest';
import { decideDoubts } from '../../src/reconciliation/doubt.ts';
import { foldHour, type LedgerEntry } from '../../src/submissions/ledger-entry.ts';
import type { SubmissionState, SubmissionSubject } from '../../src/submissions/submission.ts';
import { HOUR_MS } from '../../src/platform/durations.ts';

type Line = readonly [state: SubmissionState, value: string, subject?: SubmissionSubject];

function decide(lines: readonly Line[], stripe: string): string {
  const entries = lines.map(([state, value, subject = 'window'], index): LedgerEntry => ({
    identifier: `s${index}`,
    state,
    subject,
    value,
    timestampMs: 0,
    attempts: 1,
    firstAttemptAtMs: 0,
    isOffset: false,
    isLate: false,
  }));
  return decideDoubts(foldHour(entries, 48 * HOUR_MS), stripe);
}

describe('decideDoubts', () => {
  it.each<[string, readonly Line[], string, string]>([
    ['Stripe holds it', [['in_doubt', '5']], '5', 'counted'],
    ['Stripe holds nothing', [['in_doubt', '5']], '0', 'uncounted'],
    [
      'Stripe holds what else was delivered',
      [
        ['in_doubt', '5'],
        ['accepted', '7'],
      ],
      '7',
      'uncounted',
    ],
    [
      'Stripe holds that and it',
      [
        ['in_doubt', '5'],
        ['confirmed', '7'],
      ],
      '12',
      'counted',
    ],
    ['Stripe holds a part of it', [['in_doubt', '5']], '4.999', 'undecided'],
    [
      'Stripe holds more than both',
      [
        ['in_doubt', '5'],
        ['accepted', '7'],
      ],
      '13',
      'undecided',
    ],
    [
      'Stripe holds less than was delivered',
      [
        ['in_doubt', '5'],
        ['accepted', '7'],
      ],
      '5',
      'undecided',
    ],
    [
      'Stripe holds nothing, also not what was delivered',
      [
        ['in_doubt', '5'],
        ['accepted', '7'],
      ],
      '0',
      'uncounted',
    ],
    [
      'Stripe holds nothing of several, nor of what was delivered and what healed it',
      [
        ['in_doubt', '5'],
        ['in_doubt', '6'],
        ['confirmed', '7'],
        ['accepted', '1', 'heal'],
        ['replaced', '2'],
      ],
      '0',
      'uncounted',
    ],
    [
      'Stripe holds nothing, and lost more digits than a double holds',
      [
        ['in_doubt', '1'],
        ['accepted', '10000000000000001'],
      ],
      '0',
      'uncounted',
    ],
    [
      'a correction and the doubt may add up to nothing',
      [
        ['in_doubt', '5'],
        ['accepted', '7'],
        ['accepted', '-5'],
      ],
      '0',
      'undecided',
    ],
    [
      'a correction may have been lost with what it corrects',
      [
        ['in_doubt', '-5'],
        ['accepted', '7'],
      ],
      '0',
      'undecided',
    ],
    [
      'a replaced correction may have counted all the same',
      [
        ['in_doubt', '5'],
        ['accepted', '7'],
        ['replaced', '-5'],
      ],
      '0',
      'undecided',
    ],
    [
      'a correction takes all back, and the doubt did not count',
      [
        ['in_doubt', '5'],
        ['accepted', '7'],
        ['accepted', '-7'],
      ],
      '0',
      'uncounted',
    ],
    [
      'Stripe holds what was delivered but a part',
      [
        ['in_doubt', '5'],
        ['accepted', '7'],
        ['accepted', '1'],
      ],
      '1',
      'undecided',
    ],
    [
      'a correction counted',
      [
        ['in_doubt', '-3'],
        ['accepted', '7'],
      ],
      '4',
      'counted',
    ],
    [
      'a correction did not count',
      [
        ['in_doubt', '-3'],
        ['accepted', '7'],
      ],
      '7',
      'uncounted',
    ],
    [
      'all of several counted',
      [
        ['in_doubt', '5'],
        ['in_doubt', '6'],
      ],
      '11',
      'counted',
    ],
    [
      'none of several counted',
      [
        ['in_doubt', '5'],
        ['in_doubt', '6'],
      ],
      '0',
      'uncounted',
    ],
    [
      'one of several counted',
      [
        ['in_doubt', '5'],
        ['in_doubt', '6'],
      ],
      '5',
      'undecided',
    ],
    [
      'several could add up to nothing',
      [
        ['in_doubt', '5'],
        ['in_doubt', '-5'],
      ],
      '0',
      'undecided',
    ],
    [
      'rejected, blocked and replaced ones lie in the hour',
      [
        ['in_doubt', '5'],
        ['rejected', '1'],
        ['blocked', '2'],
        ['replaced', '3'],
      ],
      '5',
      'counted',
    ],
    [
      'a heal in doubt arrived',
      [
        ['accepted', '7'],
        ['in_doubt', '2', 'heal'],
      ],
      '7',
      'counted',
    ],
    [
      'a heal in doubt did not arrive',
      [
        ['accepted', '7'],
        ['in_doubt', '2', 'heal'],
      ],
      '5',
      'uncounted',
    ],
    [
      'an earlier heal arrived, and usage in doubt too',
      [
        ['accepted', '7'],
        ['accepted', '2', 'heal'],
        ['in_doubt', '4'],
      ],
      '11',
      'counted',
    ],
    [
      'more digits than a double holds',
      [
        ['in_doubt', '1'],
        ['accepted', '10000000000000001'],
      ],
      '10000000000000001',
      'undecided',
    ],
  ])('says what follows when %s', (_, lines, stripe, decision) => {
    expect(decide(lines, stripe)).toBe(decision);
  });
});

import { describe, expect, it } from 'vitest';
import { renderCsv } from '../../scripts/lib/csv-table.ts';
import { countedValue } from '../../src/usage/counted-value.ts';
import { followFigure } from '../../src/explain/explained-figures.ts';
import { type ExplainedLateUsage, type ExplainedSubmission, holdAgainst } from '../../src/explain/explanation.ts';
import type { Aggregation } from '../../src/meters/meter.ts';
import { parseStatedPeriod } from '../../src/aggregation/stated-period.ts';
import { ms } from '../support/usage.ts';

const RANGE = { fromMs: ms('2026-11-01T00:00:00Z'), toMs: ms('2026-12-01T00:00:00Z') };
const START = '2026-11-20T07:00:00.000Z';

function submission(given: Partial<ExplainedSubmission>): ExplainedSubmission {
  return {
    identifier: 'i',
    subject: 'window',
    subjectStart: START,
    sequence: 1,
    timestamp: given.subjectStart ?? START,
    mode: 'delta',
    value: '0',
    toQuantity: '0',
    state: 'accepted',
    attempts: 1,
    ...given,
  };
}

function late(given: Partial<ExplainedLateUsage>): ExplainedLateUsage {
  const { subjectStart = START } = given;
  const base = { id: 'l', subject: 'window' as const, subjectStart, timestamp: subjectStart, state: 'waiting' };
  return { ...base, quantity: '0', reason: 'invoice_final', ...given };
}

const NOTHING_BETWEEN = {
  inFlight: '0',
  blocked: '0',
  rejected: '0',
  notInvoiced: '0',
  carriedIn: '0',
  late: '0',
  notPlanned: '0',
  unexplained: '0',
  notDerived: '0',
};

describe('holdAgainst', () => {
  it('finds every level equal when everything was billed', () => {
    const rows = [{ quantity: '10.5', planned: '10.5' }];
    const submissions = [
      submission({ value: '12' }),
      submission({ value: '-1.5', sequence: 2, state: 'duplicate' }),
      // Counts in its successor; a heal is no usage of its own.
      submission({ value: '12', state: 'replaced' }),
      submission({ value: '12', subject: 'heal' }),
    ];
    const found = holdAgainst({ range: RANGE, rows, submissions, late: [], raw: '10.5' });
    expect(found.totals).toEqual({ sent: '10.5', submitted: '10.5', windows: '10.5', raw: '10.5' });
    expect(found).toMatchObject({ between: NOTHING_BETWEEN, equal: true });
  });

  it('says what lies between two levels', () => {
    const submissions = [
      submission({ value: '1' }),
      submission({ value: '2', state: 'in_doubt' }),
      submission({ value: '4', state: 'blocked' }),
      submission({ value: '8', state: 'rejected' }),
      submission({ value: '16', subject: 'late', subjectStart: '2026-10-01T00:00:00.000Z', timestamp: START }),
      // Billed in a later period.
      submission({ value: '32', subject: 'late', timestamp: '2026-12-02T00:00:00.000Z' }),
    ];
    const lateUsage = [
      late({ quantity: '32', state: 'submitted' }),
      late({ quantity: '64', state: 'dismissed', reason: 'too_old' }),
      late({ quantity: '0.5', reason: 'accepted_after_finalization' }),
      late({ quantity: '1000', subject: 'late' }),
    ];
    const rows = [{ quantity: '239', planned: '111' }];
    const { totals, between, equal } = holdAgainst({ range: RANGE, rows, submissions, late: lateUsage, raw: '240' });
    expect(totals).toEqual({ sent: '16.5', submitted: '31', windows: '239', raw: '240' });
    expect(between).toEqual({
      inFlight: '2',
      blocked: '4',
      rejected: '8',
      notInvoiced: '0.5',
      carriedIn: '16',
      late: '96',
      notPlanned: '128',
      unexplained: '0',
      notDerived: '1',
    });
    expect(equal).toBe(false);
  });

  it('shows what nothing explains', () => {
    const rows = [{ quantity: '10', planned: '10' }];
    const found = holdAgainst({ range: RANGE, rows, submissions: [submission({ value: '7' })], late: [], raw: '10' });
    expect(found).toMatchObject({ between: { ...NOTHING_BETWEEN, unexplained: '3' }, equal: false });
  });

  it('takes a running total for what it is more than the one before, and once delivered for all before it', () => {
    const running = (sequence: number, toQuantity: string, state: ExplainedSubmission['state']): ExplainedSubmission =>
      submission({ subject: 'period', mode: 'period_total', sequence, value: toQuantity, toQuantity, state });
    const of = (submissions: ExplainedSubmission[]): unknown => {
      const rows = [{ quantity: '9', planned: '9' }];
      const { totals, between } = holdAgainst({ range: RANGE, rows, submissions, late: [], raw: '9' });
      return [totals.sent, totals.submitted, between.rejected, between.inFlight, between.unexplained];
    };
    const all = [running(1, '4', 'accepted'), running(2, '7', 'rejected'), running(3, '9', 'confirmed')];
    expect(of(all)).toEqual(['9', '9', '0', '0', '0']);
    expect(of([...all.slice(0, 2), running(3, '9', 'planned')])).toEqual(['4', '9', '3', '2', '0']);
  });
});

describe('followFigure', () => {
  const windows = (figures: [quantity: string, eventCount: number, values?: string[]][]) =>
    figures.map(([quantity, eventCount, values], index) => ({
      customerId: 'acme',
      meter: 'm',
      window: { fromMs: index, toMs: index + 1 },
      figure: { quantity, eventCount, ...(values && { values }) },
    }));
  const follow = (aggregation: Aggregation, figures: Parameters<typeof windows>[0]): string =>
    followFigure(aggregation, windows(figures))
      .map(({ figure, sets }) => `${figure}${sets ? '!' : ''}`)
      .join(' ');

  it.each([
    [
      'max',
      [
        ['3', 1],
        ['10', 1],
        ['9', 1],
        ['10', 2],
      ],
      '3! 10! 10 10',
    ],
    [
      'max',
      [
        ['0', 1],
        ['0', 1],
        ['1', 1],
      ],
      '0! 0 1!',
    ],
    [
      'last',
      [
        ['3', 1],
        ['0', 0],
        ['1', 2],
        ['1', 1],
      ],
      '3! 3 1! 1!',
    ],
    [
      'unique',
      [
        ['2', 2, ['a', 'b']],
        ['1', 1, ['a']],
        ['2', 2, ['b', 'c']],
      ],
      '2! 2 3!',
    ],
    ['sum', [['3', 1]], ''],
  ] as [Aggregation, Parameters<typeof windows>[0], string][])('of %s', (aggregation, figures, expected) => {
    expect(follow(aggregation, figures)).toBe(expected);
  });
});

describe('countedValue', () => {
  const sum = { aggregation: 'sum' as const, valueFrom: { kind: 'property' as const, name: 'size' } };
  const withSize = (size: string | boolean) => ({ quantity: '7', properties: { size } });

  it('is what the meter takes, and nothing where it cannot count', () => {
    for (const [size, value] of [
      ['12.50', '12.5'],
      ['0', '0'],
    ] as const) {
      expect(countedValue(sum, withSize(size))).toBe(value);
    }
    for (const size of ['-1', '1e3', '', ' 1', '007', true, 'x'])
      expect(countedValue(sum, withSize(size))).toBe(undefined);
    expect(countedValue(sum, { quantity: '7' })).toBe(undefined);
    expect(countedValue({ ...sum, valueFrom: { kind: 'quantity' } }, withSize('1'))).toBe('7');
    expect(countedValue({ ...sum, aggregation: 'count' }, { quantity: '7' })).toBe('1');
    const users = { ...sum, aggregation: 'unique' as const, uniqueBy: { kind: 'userId' as const } };
    expect([countedValue(users, { quantity: '7', userId: 'u' }), countedValue(users, { quantity: '7' })]).toEqual([
      'u',
      undefined,
    ]);
    const inherited = { ...sum, valueFrom: { kind: 'property' as const, name: 'constructor' } };
    expect(countedValue(inherited, withSize('1'))).toBe(undefined);
  });
});

describe('parseStatedPeriod', () => {
  it.each([
    ['2026-11', '2026-11-01T00:00:00Z', '2026-12-01T00:00:00Z'],
    ['2026-12', '2026-12-01T00:00:00Z', '2027-01-01T00:00:00Z'],
    ['2026-11-01..2026-11-08', '2026-11-01T00:00:00Z', '2026-11-08T00:00:00Z'],
    ['2026-11-01T10:23:45+01:00..2026-11-08', '2026-11-01T09:23:45Z', '2026-11-08T00:00:00Z'],
  ])('reads %s', (text, from, to) => {
    expect(parseStatedPeriod(text)).toEqual({ fromMs: ms(from), toMs: ms(to) });
  });

  it.each([
    '',
    '2026',
    '2026-13',
    '2026-11-31..2026-12-02',
    '2026-11-02..2026-11-01',
    '2026-11-01..',
    '2026-01-01..2028-01-01',
    'a..b..c',
  ])('refuses %j', (text) => {
    expect(() => parseStatedPeriod(text)).toThrow(expect.objectContaining({ kind: 'invalid' }));
  });
});

describe('renderCsv', () => {
  it('quotes what would break a row', () => {
    expect(
      renderCsv(
        ['a', 'b'],
        [
          ['1', undefined],
          ['x,"y"', '2\n3'],
        ],
      ),
    ).toBe('a,b\n1,\n"x,""y""","2\n3"');
  });

  it('lets no cell be a formula of a spreadsheet, and leaves negative numbers alone', () => {
    const cells = ['=1+2', '+49', '-2+3', '@SUM(A1)', '\t=1', '\r=1', '-12.5', '-0', '-', 'a=b'];
    const [, ...rows] = renderCsv(
      ['a'],
      cells.map((cell) => [cell]),
    ).split('\n');
    expect(rows).toEqual(["'=1+2", "'+49", "'-2+3", "'@SUM(A1)", "'\t=1", '"\'\r=1"', '-12.5', '-0', "'-", 'a=b']);
  });
});

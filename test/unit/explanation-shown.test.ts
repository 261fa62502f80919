/** How an explanation is shown: as tables for a person, and as rows for a spreadsheet. */
import { describe, expect, it } from 'vitest';
import { daysOf } from '../../scripts/lib/explained-days.ts';
import { type Explanation, renderExplanation } from '../../scripts/lib/explanation.ts';
import { renderExplanationCsv } from '../../scripts/lib/explanation-csv.ts';
import { addQuantities } from '../../src/platform/quantity.ts';

const HOUR = '2026-11-20T07:00:00.000Z';
const NEXT_HOUR = '2026-11-20T08:00:00.000Z';
const ALL = { all: true, facts: false };

function window(from: string, quantity: string, more: object = {}): Explanation['windows'][number] {
  const to = new Date(Date.parse(from) + 3_600_000).toISOString();
  return { from, to, quantity, eventCount: 1, raw: { quantity, eventCount: 1 }, ...more };
}

function submission(given: Partial<Explanation['submissions'][number]>): Explanation['submissions'][number] {
  const base = { identifier: 'i', subject: 'window', timestamp: HOUR, value: '1', state: 'accepted', attempts: 1 };
  return { ...base, ...given };
}

function fact(given: Partial<Explanation['facts']['data'][number]>): Explanation['facts']['data'][number] {
  return { idempotencyKey: 'k', occurredAt: HOUR, receivedAt: NEXT_HOUR, value: '1', ...given };
}

function explanation(given: Partial<Explanation> & { data?: Explanation['facts']['data'] } = {}): Explanation {
  const { data = [], ...rest } = given;
  return {
    customerId: 'acme',
    meter: 'calls',
    unit: 'call',
    aggregation: 'sum',
    from: '2026-11-01T00:00:00.000Z',
    to: '2026-12-01T00:00:00.000Z',
    billing: { invoices: [], unbilled: [] },
    totals: { sent: '0', submitted: '0', windows: '0', raw: '0' },
    between: {},
    equal: true,
    submissions: [],
    lateUsage: [],
    windows: [],
    facts: {
      from: HOUR,
      to: NEXT_HOUR,
      quantity: '0',
      eventCount: data.length,
      data,
      nextCursor: null,
      hasMore: false,
    },
    ...rest,
  };
}

/** The rows of a CSV without quoted line breaks, by heading. */
function rowsOf(csv: string): Record<string, string>[] {
  const [headings = [], ...rows] = csv
    .split('\n')
    .map((line) => [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)])
    .map((cells) => cells.map(([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? ''));
  return rows.map((row) => Object.fromEntries(headings.map((heading, index) => [heading, row[index] ?? ''])));
}

describe('the table of an explanation', () => {
  it('shows every id whole, however long it is', () => {
    const long = (name: string): string => `${name}-${'0123456789'.repeat(15)}-end`;
    const shown = renderExplanation(
      explanation({
        submissions: [submission({ identifier: long('identifier') })],
        lateUsage: [{ id: long('late'), timestamp: HOUR, quantity: '1', reason: 'invoice_final', state: 'waiting' }],
        data: [fact({ idempotencyKey: long('key'), userId: long('user'), properties: { region: 'x'.repeat(200) } })],
      }),
      { all: true, facts: true },
    );
    for (const name of ['identifier', 'late', 'key', 'user']) expect(shown).toContain(long(name));
    // What is no id is cut all the same.
    expect(shown).toContain('…');
  });

  it('marks heals, and says why they are in no sum', () => {
    const shown = renderExplanation(
      explanation({
        submissions: [submission({ identifier: 'usage' }), submission({ identifier: 'h', subject: 'heal' })],
      }),
      ALL,
    );
    expect(shown).toMatch(/ {2}heal, accepted +1 {2}h$/m);
    expect(shown).toMatch(/ {2}accepted +1 {2}usage$/m);
    expect(shown).toContain('1 of them is a heal: in no sum above');
  });

  it('shows days in UTC instead of windows, all of them', () => {
    const windows = Array.from({ length: 30 * 24 }, (_, hour) =>
      window(new Date(Date.parse('2026-11-01T00:00:00Z') + hour * 3_600_000).toISOString(), '0.1'),
    );
    const shown = renderExplanation(explanation({ windows }), { all: false, facts: false, byDay: true });
    expect(shown).toContain('days in UTC (30)');
    expect(shown.match(/^2026-11-\d\d +2\.4 +24 +2\.4$/gm)).toHaveLength(30);
    expect(shown).not.toContain('windows (');
  });
});

describe('the days of an explanation', () => {
  it('add up their windows exactly, and to what the windows come to', () => {
    const windows = [
      window('2026-11-20T22:00:00.000Z', '0.1'),
      window('2026-11-20T23:00:00.000Z', '0.2'),
      window('2026-11-21T00:00:00.000Z', '90071992547409930.000000000001'),
    ];
    const days = daysOf({ windows });
    expect(days.map(({ from, to, quantity, eventCount }) => [from, to, quantity, eventCount])).toEqual([
      ['2026-11-20T00:00:00.000Z', '2026-11-21T00:00:00.000Z', '0.3', 2],
      ['2026-11-21T00:00:00.000Z', '2026-11-22T00:00:00.000Z', '90071992547409930.000000000001', 1],
    ]);
    expect(addQuantities('0', ...days.map(({ quantity = '' }) => quantity))).toBe(
      addQuantities('0', ...windows.map(({ quantity }) => quantity)),
    );
  });

  it('have the running figure at their end, and no sum, where windows do not add up', () => {
    const windows = [
      window('2026-11-20T22:00:00.000Z', '7', { figure: '7', setsFigure: true }),
      window('2026-11-20T23:00:00.000Z', '3', { figure: '7' }),
      window('2026-11-21T00:00:00.000Z', '5', { figure: '7' }),
    ];
    const days = daysOf({ windows });
    expect(days.map(({ quantity, figure, setsFigure }) => [quantity, figure, setsFigure])).toEqual([
      [undefined, '7', true],
      [undefined, '7', false],
    ]);
    const shown = renderExplanation(explanation({ windows }), { all: true, facts: false, byDay: true });
    expect(shown).toMatch(/^2026-11-20 +2 +7 {2}sets it$/m);
    expect(shown).toMatch(/^2026-11-21 +1 +7$/m);
  });
});

describe('the CSV of an explanation', () => {
  it('has the user and the properties of each raw event, and names heals', () => {
    const of = explanation({
      submissions: [submission({ identifier: 'h', subject: 'heal' })],
      data: [
        fact({ idempotencyKey: 'a', userId: 'jo', properties: { region: 'eu, "west"', size: '1.50', beta: true } }),
        fact({ idempotencyKey: 'b' }),
      ],
    });
    const rows = rowsOf(renderExplanationCsv([of], { byDay: false }));
    const byId = new Map(rows.map((row) => [row['id'], row]));
    expect(byId.get('a')).toMatchObject({ level: 'fact', user: 'jo', customer: 'acme', meter: 'calls' });
    expect(JSON.parse(byId.get('a')?.['properties'] ?? '')).toEqual({ region: 'eu, "west"', size: '1.50', beta: true });
    expect(byId.get('b')).toMatchObject({ user: '', properties: '' });
    expect(byId.get('h')).toMatchObject({ level: 'meter_event', subject: 'heal' });
  });

  it('can have the raw facts alone, which add up, with who corrected what and when each came', () => {
    const correction = { kind: 'adjustment', value: '-1', reason: 'sent twice', actor: 'jo', idempotencyKey: 'c' };
    const of = explanation({ windows: [window(HOUR, '2')], data: [fact({ value: '3' }), fact(correction)] });
    const rows = rowsOf(renderExplanationCsv([of], { byDay: false, isFactsOnly: true }));
    expect(rows.map(({ level, quantity, receivedAt }) => [level, quantity, receivedAt])).toEqual([
      ['fact', '3', NEXT_HOUR],
      ['fact', '-1', NEXT_HOUR],
    ]);
    expect(rows[1]).toMatchObject({ state: 'adjustment', reason: 'sent twice', actor: 'jo' });
  });

  it('has days in the place of windows where they are asked for', () => {
    const of = explanation({ windows: [window(HOUR, '1'), window(NEXT_HOUR, '2')] });
    const levels = (byDay: boolean): (string | undefined)[][] =>
      rowsOf(renderExplanationCsv([of], { byDay }))
        .filter(({ level = '' }) => ['day', 'window'].includes(level))
        .map(({ level, quantity }) => [level, quantity]);
    expect(levels(true)).toEqual([['day', '3']]);
    expect(levels(false)).toEqual([
      ['window', '1'],
      ['window', '2'],
    ]);
  });
});

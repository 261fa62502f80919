import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { skewProblem } from '../../scripts/commands/doctor/check.ts';
import { readCsv } from '../../scripts/lib/csv.ts';
import { readTextLines } from '../../scripts/lib/file-text.ts';
import { readCsvHeader, toEventText } from '../../scripts/lib/csv-events.ts';
import { ImportSummary } from '../../scripts/lib/import-summary.ts';
import { renderBar } from '../../scripts/lib/progress.ts';
import { shiftEventText } from '../../scripts/lib/shift-event.ts';
import { shuffled } from '../../scripts/lib/shuffle.ts';
import { renderTable } from '../../scripts/lib/table.ts';

async function* chunksOf(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const FILE = { path: 'rows.csv', isGzip: false };

async function parse(text: string, size = text.length): Promise<(readonly string[])[]> {
  const rows: (readonly string[])[] = [];
  const lines = readTextLines(chunksOf(Buffer.from(text), Math.max(1, size)), FILE);
  for await (const { cells } of readCsv(lines)) rows.push(cells);
  return rows;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe('CSV', () => {
  it.each([
    [
      'a,b\n1,2\n',
      [
        ['a', 'b'],
        ['1', '2'],
      ],
    ],
    [
      'a,b\r\n1,2',
      [
        ['a', 'b'],
        ['1', '2'],
      ],
    ],
    ['"a,b","c""d"\n', [['a,b', 'c"d']]],
    ['"two\nlines",x\n', [['two\nlines', 'x']]],
    [
      'a,\n\n,b\n',
      [
        ['a', ''],
        ['', 'b'],
      ],
    ],
    ['""\n', [['']]],
    ['', []],
  ])('reads %j', async (text, rows) => {
    expect(await parse(text)).toEqual(rows);
  });

  it('says where a quote is never closed or something follows it', async () => {
    await expect(parse('a\n"b\n')).rejects.toThrow('line 2');
    await expect(parse('a\n\n"b"c\n')).rejects.toThrow('line 3');
  });

  it('reads back any table, however it is cut into chunks', async () => {
    const cell = fc.string({ unit: fc.constantFrom('a', 'é', '"', ',', '\n', ' ') });
    const table = fc.array(fc.array(cell, { minLength: 2, maxLength: 4 }), { maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(table, fc.integer({ min: 1, max: 7 }), async (rows, size) => {
        const text = rows.map((row) => row.map((value) => `"${value.replaceAll('"', '""')}"`).join(',')).join('\n');
        expect(await parse(text, size)).toEqual(rows);
      }),
      { numRuns: 100 },
    );
  });

  it('becomes events in which no digit is lost and an empty quantity is not counted as 1', () => {
    const header =
      'idempotencyKey,customerId,eventType,occurredAt,quantity,userId,properties.size:number,properties.plan';
    const columns = readCsvHeader(header.split(','));
    const full = ['k', 'c', 't', '2026-11-01T00:00:00Z', '0.10', 'u', '12345678901234.50', '7'];
    expect(toEventText(columns, { line: 2, cells: full })).toBe(
      '{"idempotencyKey":"k","customerId":"c","eventType":"t","occurredAt":"2026-11-01T00:00:00Z","quantity":"0.10",' +
        '"userId":"u","properties":{"size":12345678901234.50,"plan":"7"}}',
    );
    const empty = toEventText(columns, { line: 3, cells: ['k', 'c', 't', 'x', '', '', '', ''] });
    expect(JSON.parse(empty)).toEqual({
      idempotencyKey: 'k',
      customerId: 'c',
      eventType: 't',
      occurredAt: 'x',
      quantity: '',
    });
    expect(() => toEventText(columns, { line: 4, cells: ['k'] })).toThrow('line 4 has 1 cells');
  });

  it('refuses a header with an unknown, a repeated or a missing column', () => {
    const needed = ['idempotencyKey', 'customerId', 'eventType', 'occurredAt'];
    expect(() => readCsvHeader([...needed, 'quantty'])).toThrow('unknown column: quantty');
    expect(() => readCsvHeader([...needed, 'userId', 'userId'])).toThrow('userId stands twice');
    expect(() => readCsvHeader(needed.slice(1))).toThrow('lacks idempotencyKey');
  });
});

describe('a shift by days', () => {
  it('moves the date and leaves everything else as it is written', () => {
    const text = '{"quantity":1.10,"occurredAt" : "2013-11-30T23:59:59.5+02:00","n":9007199254740993}';
    expect(shiftEventText(text, 1)).toBe(
      '{"quantity":1.10,"occurredAt":"2013-12-01T23:59:59.5+02:00","n":9007199254740993}',
    );
    expect(shiftEventText(text, 0)).toBe(text);
    expect(shiftEventText('not json', 3)).toBe('not json');
    expect(shiftEventText('{"occurredAt":"soon"}', 3)).toBe('{"occurredAt":"soon"}');
  });

  it('moves the field of the event when a property has its name', () => {
    const event = { properties: { occurredAt: '2013-01-01T00:00:00Z' }, occurredAt: '2013-11-01T00:00:00Z' };
    expect(JSON.parse(shiftEventText(JSON.stringify(event), -1))).toEqual({
      ...event,
      occurredAt: '2013-10-31T00:00:00Z',
    });
  });
});

describe('what is shown', () => {
  it('is a table whose numbers are flush right and whose foreign text cannot break it', () => {
    const columns = [{ heading: 'name' }, { heading: 'n', align: 'right' as const }];
    expect(
      renderTable(columns, [
        ['a\nb', '1'],
        ['é', undefined],
        ['c', '100'],
      ]),
    ).toBe(['name    n', 'a b     1', 'é       -', 'c     100'].join('\n'));
  });

  it('is a bar that is never longer than itself', () => {
    expect(renderBar(1, 2)).toBe(`[${'#'.repeat(14)}${'-'.repeat(14)}]  50 %`);
    expect(renderBar(5, 0)).toMatch(/100 %$/);
    expect(renderBar(9, 3)).toMatch(/^\[#{28}\] 100 %$/);
  });

  it('groups refusals by reason, most frequent first, with lines of the file', () => {
    const summary = new ImportSummary();
    const quantity = { code: 'field_type', detail: 'no', pointer: '/quantity' };
    const result = (index: number, error: typeof quantity) => ({
      index,
      idempotencyKey: null,
      outcome: 'rejected' as const,
      error,
    });
    const results = [result(0, { ...quantity, pointer: '/userId' }), result(1, quantity), result(2, quantity)];
    summary.add({ accepted: 1, duplicates: 0, conflicts: 0, rejected: 3, results }, [11, 12, 13, 14]);
    expect(summary.refusals()).toMatchObject([
      { pointer: '/quantity', count: 2, lines: [12, 13] },
      { pointer: '/userId', count: 1, lines: [11] },
    ]);
    expect([summary.isAllRefused, summary.advice]).toEqual([false, undefined]);
  });

  it('is what may be meant when every event of a file was refused for one reason', () => {
    const summary = new ImportSummary();
    const refuse = (code: string): void => {
      const error = { code, detail: 'no', pointer: '' };
      const results = [{ index: 0, idempotencyKey: null, outcome: 'rejected' as const, error }];
      summary.add({ accepted: 0, duplicates: 0, conflicts: 0, rejected: 1, results }, [1]);
    };
    refuse('line_not_json');
    expect(summary.advice).toMatch(/--format csv/);
    refuse('field_unknown');
    expect(summary.advice).toBeUndefined();
  });
});

describe('a shuffle', () => {
  it('keeps every item, in the same order for the same seed', async () => {
    const items = async function* (): AsyncGenerator<number> {
      yield* Array.from({ length: 50 }, (_, index) => index);
    };
    const first = await collect(shuffled(items(), 7));
    expect(await collect(shuffled(items(), 7))).toEqual(first);
    expect(await collect(shuffled(items(), 8))).not.toEqual(first);
    expect([...first].sort((a, b) => a - b)).toEqual(await collect(items()));
  });
});

describe('the difference of two clocks', () => {
  it.each([
    [0, undefined],
    [5_000, undefined],
    [5_001, 'our clock is 5 s behind theirs'],
    [-5_000, undefined],
    [-60_000, 'our clock is 60 s ahead of theirs'],
  ])('of %d ms', (differenceMs, said) => {
    const read = { theirMs: 1_000_000 + differenceMs, beforeMs: 1_000_000, afterMs: 1_000_000, resolutionMs: 0 };
    expect(skewProblem('theirs', read)).toBe(said);
  });

  it('takes the time of the call and a coarse clock into account', () => {
    const read = { theirMs: 995_000, beforeMs: 1_000_000, afterMs: 1_010_000, resolutionMs: 1_000 };
    expect(skewProblem('theirs', read)).toBeUndefined();
  });
});

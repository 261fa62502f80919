/** What `import` makes of files: bytes to lines, lines to records, records to events. */
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type EventFileOptions, openEventFile } from '../../scripts/lib/event-file.ts';
import { parseFieldMap } from '../../scripts/lib/field-map.ts';
import { LINE_BYTES_MAX, readTextLines } from '../../scripts/lib/file-text.ts';
import { readTime } from '../../scripts/lib/foreign-time.ts';
import { ImportState } from '../../scripts/lib/import-state.ts';
import { readJsonArgument } from '../../scripts/lib/json-argument.ts';
import { KeyWatch } from '../../scripts/lib/key-watch.ts';

let folder: string;
const cwd = process.cwd();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tallystick-import-'));
  process.chdir(folder);
});

afterAll(async () => {
  process.chdir(cwd);
  await rm(folder, { recursive: true, force: true });
});

async function* chunksOf(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function linesOf(bytes: Buffer, size = bytes.length): Promise<string[]> {
  const lines: string[] = [];
  for await (const { line, text } of readTextLines(chunksOf(bytes, Math.max(1, size)), { path: 'f', isGzip: false })) {
    lines.push(text);
    expect(line).toBe(lines.length);
  }
  return lines;
}

async function eventsOf(name: string, content: Buffer | string, options: EventFileOptions = {}): Promise<unknown[]> {
  await writeFile(join(folder, name), content);
  const events: unknown[] = [];
  for await (const { text } of (await openEventFile(join(folder, name), options)).lines())
    events.push(JSON.parse(text));
  return events;
}

const HEADER = 'idempotencyKey,customerId,eventType,occurredAt,quantity';

describe('the lines of a file', () => {
  it('end at LF and CRLF only: U+2028, U+2029, U+0085 and a lone CR are characters like others', async () => {
    const text = 'a\u2028b\nc\u2029d\r\ne\u0085f\rg\n\nh';
    expect(await linesOf(Buffer.from(text))).toEqual(['a\u2028b', 'c\u2029d', 'e\u0085f\rg', '', 'h']);
  });

  it('are the same however the bytes are cut into chunks', async () => {
    const character = fc.constantFrom('a', 'ü', '😀', '\u2028', '\n', '\r\n', '\ufeff');
    await fc.assert(
      fc.asyncProperty(fc.array(character), fc.integer({ min: 1, max: 5 }), async (characters, size) => {
        const text = `x${characters.join('')}`;
        const expected = text.split(/\r?\n/);
        if (expected.at(-1) === '') expected.pop();
        expect(await linesOf(Buffer.from(text), size)).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });

  it('come from UTF-16 with a byte order mark of either kind, and from UTF-8 with one', async () => {
    const text = 'Müller\r\n😀 Zürich\n';
    const little = Buffer.from(`\ufeff${text}`, 'utf16le');
    const lines = ['Müller', '😀 Zürich'];
    for (const size of [1, 3, little.length]) {
      expect(await linesOf(little, size)).toEqual(lines);
      expect(await linesOf(Buffer.from(little).swap16(), size)).toEqual(lines);
      expect(await linesOf(Buffer.from(`\ufeff${text}`), size)).toEqual(lines);
    }
    await expect(linesOf(little.subarray(0, -1))).rejects.toThrow('begins like UTF-16 and is not');
  });

  it('are refused with their number when they are not UTF-8, hold a NUL or never end', async () => {
    const latin = Buffer.concat([Buffer.from('one\ntwo\n'), Buffer.from('Möller\n', 'latin1'), Buffer.from('four\n')]);
    for (const size of [1, 5, latin.length])
      await expect(linesOf(latin, size)).rejects.toThrow('line 3 of f is not UTF-8');
    await expect(linesOf(Buffer.from('ab', 'utf16le'))).rejects.toThrow('line 1 of f holds a NUL');
    const long = Buffer.from(`one\n${'x'.repeat(LINE_BYTES_MAX + 1)}`);
    for (const size of [65_536, long.length])
      await expect(linesOf(long, size)).rejects.toThrow('line 2 of f is longer');
  });

  it('are not UTF-8: the command that helps is named, also for gzip', async () => {
    const broken = gzipSync(Buffer.from(`${HEADER}\nk,Müller,row,x,1\n`, 'latin1'));
    await expect(eventsOf('it is.csv.gz', broken)).rejects.toMatchObject({
      todo: expect.stringMatching(
        /gunzip -c '.*it is\.csv\.gz' \| iconv -f WINDOWS-1252 -t UTF-8 > '.*it is-utf8\.csv'$/,
      ),
    });
  });
});

describe('a file that is an argument', () => {
  it('changes no letter either, and may begin with a byte order mark', async () => {
    await writeFile(join(folder, 'customer.json'), Buffer.from('{"name":"Müller"}', 'latin1'));
    await expect(readJsonArgument(`@${join(folder, 'customer.json')}`)).rejects.toThrow('is not UTF-8');
    await writeFile(join(folder, 'customer.json'), '\ufeff{"name":"Müller"}');
    expect(await readJsonArgument(`@${join(folder, 'customer.json')}`)).toEqual({ name: 'Müller' });
  });
});

describe('a file that ends too early', () => {
  it('is named as cut off, and as damaged where its bytes were changed', async () => {
    const rows = Array.from({ length: 5_000 }, (_, index) => JSON.stringify({ idempotencyKey: `${Math.sin(index)}` }));
    const whole = gzipSync(rows.join('\n'));
    const half = Math.floor(whole.length / 2);
    await expect(eventsOf('cut.ndjson.gz', whole.subarray(0, half))).rejects.toThrow(/is cut off/);
    const damaged = Buffer.from(whole);
    damaged.fill(0xff, half, half + 64);
    await expect(eventsOf('damaged.ndjson.gz', damaged)).rejects.toThrow(/is damaged/);
  });
});

describe('what is no file of events', () => {
  it.each([
    ['sheet.xlsx', Buffer.from('PK\u0003\u0004…'), 'is a ZIP archive or a spreadsheet'],
    ['rows.zst', Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0]), 'is compressed with zstd'],
    ['array.json', '\n[{"idempotencyKey":"a"}]', 'is one JSON document'],
    ['pretty.json', '{\n  "events": []\n}', 'is one JSON document'],
  ])('is named for what it is: %s', async (name, content, said) => {
    await expect(eventsOf(name, content)).rejects.toMatchObject({
      message: expect.stringContaining(said),
      exitCode: 2,
    });
  });

  it('is named for what it is: a folder, a pipe that can be read only once', async () => {
    await expect(openEventFile(folder)).rejects.toThrow('is a folder');
    await expect(openEventFile('/dev/null')).rejects.toThrow('is no file but a pipe or a device');
  });
});

describe('CSV of other programs', () => {
  it('may begin with the line that tells spreadsheets the delimiter', async () => {
    const row = 'k;c;row;2026-11-01T00:00:00Z;1,5';
    const content = `sep=;\r\n${HEADER.replaceAll(',', ';')}\r\n${row}`;
    expect(await eventsOf('sep.csv', content)).toMatchObject([{ customerId: 'c', quantity: '1,5' }]);
  });

  it.each([
    [';', undefined],
    ['\t', undefined],
    ['|', undefined],
    ['|', '|' as const],
  ])('has its cells between %j', async (between, delimiter) => {
    const row = ['k', 'a,b', 'row', '2026-11-01T00:00:00Z', '1,5'].map((cell) => `"${cell}"`);
    const content = [HEADER.replaceAll(',', between), row.join(between)].join('\r\n');
    expect(await eventsOf('other.csv', content, { delimiter })).toMatchObject([{ customerId: 'a,b', quantity: '1,5' }]);
  });

  it('keeps the line where a record begins when a cell has line breaks', async () => {
    await expect(eventsOf('lines.csv', `${HEADER}\nk,"a\nb",row,x,1\n\nk,c\n`)).rejects.toThrow('line 5 has 2 cells');
  });
});

describe('--map', () => {
  const stripe = ['idempotencyKey=identifier', 'customerId=payload_stripe_customer_id', 'eventType=event_name'];

  it("takes Stripe's bulk columns, with seconds since 1970", async () => {
    const content =
      'identifier,timestamp,event_name,payload_stripe_customer_id,payload_value\nid_1,1795000000,tokens,cus_1,12.50\n';
    const map = parseFieldMap([...stripe, 'occurredAt=timestamp:unix', 'quantity=payload_value']);
    expect(await eventsOf('stripe.csv', content, { map })).toEqual([
      {
        idempotencyKey: 'id_1',
        customerId: 'cus_1',
        eventType: 'tokens',
        occurredAt: '2026-11-18T11:06:40.000Z',
        quantity: '12.50',
      },
    ]);
  });

  it('takes events of other collectors: data as properties, and a time where there is none', async () => {
    const lines = [
      { specversion: '1.0', id: '1', source: 's', type: 'prompt', subject: 'acme', data: { tokens: '12', model: 'm' } },
      { id: 7, type: 'prompt', subject: 'acme', time: '2026-11-02T00:00:00Z', data: {} },
    ];
    const map = parseFieldMap([
      'idempotencyKey=id',
      'customerId=subject',
      'eventType=type',
      'quantity=data.tokens',
      'properties=data',
      'occurredAt=time',
      'occurredAt:=2026-11-01T00:00:00Z',
    ]);
    expect(await eventsOf('other.ndjson', lines.map((line) => JSON.stringify(line)).join('\n'), { map })).toEqual([
      {
        idempotencyKey: '1',
        customerId: 'acme',
        eventType: 'prompt',
        occurredAt: '2026-11-01T00:00:00Z',
        quantity: '12',
        properties: { tokens: '12', model: 'm' },
      },
      {
        idempotencyKey: '7',
        customerId: 'acme',
        eventType: 'prompt',
        occurredAt: '2026-11-02T00:00:00Z',
        // Not counted as 1, which nobody has said.
        quantity: '',
        properties: {},
      },
    ]);
  });

  it('never makes another id of a number that a double cannot hold', async () => {
    const map = parseFieldMap(['idempotencyKey=id', 'quantity:=1']);
    const [event] = await eventsOf('big.ndjson', '{"id":12345678901234567890,"customerId":"c"}', { map });
    expect(event).toMatchObject({ idempotencyKey: 12345678901234567000, quantity: '1' });
  });

  it('joins a cell of JSON with single properties, and keeps every digit', async () => {
    const map = parseFieldMap(['properties=labels', 'properties.size:number=bytes']);
    const content = `${HEADER},labels,bytes\nk,c,row,x,1,"{""plan"":""pro""}",12345678901234.50\n`;
    await writeFile(join(folder, 'labels.csv'), content);
    const texts: string[] = [];
    for await (const { text } of (await openEventFile(join(folder, 'labels.csv'), { map })).lines()) texts.push(text);
    expect(texts[0]).toContain('"properties":{"size":12345678901234.50,"plan":"pro"}');
  });

  it('says what it leaves out, and refuses what nobody has decided', async () => {
    const told: string[] = [];
    const map = parseFieldMap(['customerId=account']);
    const content = `idempotencyKey,account,eventType,occurredAt,amount\nk,c,row,x,1\n`;
    await expect(eventsOf('left.csv', content, { map })).rejects.toThrow('lacks quantity');
    const whole = parseFieldMap(['customerId=account', 'quantity:=1']);
    await eventsOf('left.csv', content, { map: whole, onIgnored: (columns) => told.push(...columns) });
    expect(told).toEqual(['amount']);
    await expect(eventsOf('left.csv', content, { map: parseFieldMap(['userId=user']) })).rejects.toThrow();
    const wrong = ['customer=account', 'quantity', 'quantity=', 'customerId=account:unix', 'properties.__proto__=x'];
    for (const rule of wrong) expect(() => parseFieldMap([rule]), rule).toThrow('is not possible');
    expect(() => parseFieldMap(['userId=a', 'userId=b'])).toThrow('twice');
  });

  it.each([
    ['1795000000', 'unix', '2026-11-18T11:06:40.000Z'],
    ['1795000000.123456', 'unix', '2026-11-18T11:06:40.123Z'],
    ['1795000000123', 'unixms', '2026-11-18T11:06:40.123Z'],
    ['2026-11-21 05:00:00.123456+00', 'postgres', '2026-11-21T05:00:00.123456+00:00'],
    ['2026-11-21 05:00:00-0330', 'postgres', '2026-11-21T05:00:00-03:30'],
    ['2026-11-21 05:00:00', 'utc', '2026-11-21T05:00:00Z'],
    // Left as they are, to be refused: another unit, a missing offset, an offset where none is meant.
    ['1795000000123', 'unix', '1795000000123'],
    ['1795000000', 'unixms', '1795000000'],
    ['2026-11-21 05:00:00', 'postgres', '2026-11-21 05:00:00'],
    ['2026-11-21 05:00:00+02', 'utc', '2026-11-21 05:00:00+02'],
  ] as const)('reads the time %s as %s', (text, format, instant) => {
    expect(readTime(text, format)).toBe(instant);
  });
});

describe('the keys of a file', () => {
  it('are counted and named when they stand twice for one customer, or were shortened by a spreadsheet', () => {
    const keys = new KeyWatch();
    const add = (line: number, key: string, customerId = 'a'): void =>
      keys.add(line, JSON.stringify({ idempotencyKey: key, customerId }));
    add(2, '1.23457E+15');
    add(3, '1.23457E+15');
    add(4, '1.23457E+15', 'b');
    add(5, 'k');
    add(6, 'k');
    add(7, 'k');
    keys.add(8, 'no event');
    expect(keys.repeated).toMatchObject({
      count: 3,
      keys: [
        { key: '1.23457E+15', lines: [3] },
        { key: 'k', lines: [6, 7] },
      ],
    });
    expect(keys.shortened).toMatchObject({ count: 3, keys: [{ key: '1.23457E+15', lines: [2, 3, 4] }] });
  });
});

describe('how far an import came', () => {
  it('is forgotten at its end, also when a save was still under way', async () => {
    await writeFile(join(folder, 'state.ndjson'), 'x');
    for (let round = 0; round < 50; round += 1) {
      const state = await ImportState.of(join(folder, 'state.ndjson'), [String(round)], () => {});
      void state.save(round + 1);
      await state.remove();
      await state.remove();
      expect(await state.load()).toBe(0);
    }
    expect(await readdir(join('.tallystick', 'imports'))).toEqual([]);
  });

  it('is told once it cannot be kept, and the import goes on', async () => {
    const faults: unknown[] = [];
    await writeFile(join(folder, 'blocked'), 'a file where the folder would be');
    const inside = await mkdtemp(join(folder, 'read-only-'));
    process.chdir(inside);
    await writeFile('.tallystick', '');
    const state = await ImportState.of(join(folder, 'blocked'), [], (error) => faults.push(error));
    await state.save(1, true);
    process.chdir(folder);
    expect(faults).toHaveLength(1);
    expect(existsSync(join(inside, '.tallystick'))).toBe(true);
  });
});

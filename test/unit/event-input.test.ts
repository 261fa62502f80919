import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromCloudEvent } from '../../src/usage/cloud-event.ts';
import { type EventBody, type EventInput, readEventInput } from '../../src/usage/event-input.ts';
import { cutRejectedText, REJECTED_TEXT_BYTES_MAX, toRejectedText } from '../../src/usage/rejected-text.ts';
import { DaemonError } from '../../src/platform/errors.ts';

function read(text: string, body: Partial<EventBody> = {}): EventInput {
  return readEventInput({ mediaType: 'application/json', text, eventsMax: 3, ...body });
}

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof DaemonError) return error.code;
    throw error;
  }
  return 'nothing thrown';
}

const CLOUD_EVENT = {
  specversion: '1.0',
  id: '7',
  source: '/billing',
  type: 'api.call',
  subject: 'acme',
  time: '2026-11-21T05:00:00Z',
};

describe('a JSON body', () => {
  it('holds one event, an array of them, or an envelope', () => {
    expect(read('{"a":1}').values).toEqual([{ a: 1 }]);
    expect(read('[{"a":1},2]').values).toEqual([{ a: 1 }, 2]);
    expect(read('{"events":[{"a":1},null]}').values).toEqual([{ a: 1 }, null]);
    expect(read('null').values).toEqual([null]);
  });

  it('is an envelope only when it is nothing else', () => {
    expect(read('{"events":[1],"quantity":2}').values).toEqual([{ events: [1], quantity: 2 }]);
    expect(read('{"events":5}').values).toEqual([{ events: 5 }]);
  });

  it('is refused as a whole when it is no JSON, empty, or too long', () => {
    expect(codeOf(() => read(''))).toBe('body_not_json');
    expect(codeOf(() => read('{"a":1}{"a":2}'))).toBe('body_not_json');
    expect(codeOf(() => read('[]'))).toBe('no_events');
    expect(codeOf(() => read('[1,2,3]'))).toBe('nothing thrown');
    expect(codeOf(() => read('[1,2,3,4]'))).toBe('too_many_events');
    expect(codeOf(() => read('{"events":[1,2,3,4]}'))).toBe('too_many_events');
  });
});

describe('NDJSON', () => {
  const lines = (text: EventBody['text']): EventInput => read('', { mediaType: 'application/x-ndjson', text });

  it('skips blank lines and takes both kinds of line end', () => {
    expect(lines('{"a":1}\r\n\n  \n[2]').values).toEqual([{ a: 1 }, [2]]);
  });

  it('refuses bad lines one by one, and keeps their text', () => {
    const input = lines('{"a":1}\n{"a":\n3');
    expect(input.values).toEqual([{ a: 1 }, undefined, 3]);
    expect([...input.faults]).toEqual([
      [1, { fault: { code: 'line_not_json', detail: expect.any(String), pointer: '' }, text: '{"a":' }],
    ]);
  });

  it('refuses a line that is not UTF-8, though its replacement would be JSON', () => {
    const input = lines([
      { text: '"\ufffd"', isUtf8: false },
      { text: '1', isUtf8: true },
    ]);
    expect([...input.faults.keys()]).toEqual([0]);
    expect(input.values).toEqual([undefined, 1]);
  });

  it('counts lines up to the limit, and none as no events', () => {
    expect(codeOf(() => lines('1\n2\n3\n'))).toBe('nothing thrown');
    expect(codeOf(() => lines('1\n2\n3\n4'))).toBe('too_many_events');
    expect(codeOf(() => lines('\n \n'))).toBe('no_events');
  });
});

describe('a CloudEvent', () => {
  it('becomes the fields of a usage event', () => {
    const data = { quantity: '2', userId: 'u', properties: { a: 1 } };
    expect(fromCloudEvent({ ...CLOUD_EVENT, datacontenttype: 'application/json; charset=utf-8', data })).toEqual({
      fields: {
        idempotencyKey: '/billing 7',
        customerId: 'acme',
        eventType: 'api.call',
        occurredAt: '2026-11-21T05:00:00Z',
        ...data,
      },
      isTimeless: false,
    });
  });

  it('may have extension attributes, which are ignored', () => {
    expect(fromCloudEvent({ ...CLOUD_EVENT, traceparent: '00-1', partitionkey: 'x' })).toHaveProperty('fields');
  });

  const refusals: [value: unknown, code: string, pointer: string][] = [
    [null, 'event_not_an_object', ''],
    [[CLOUD_EVENT], 'event_not_an_object', ''],
    [{ ...CLOUD_EVENT, specversion: '0.3' }, 'cloud_event_invalid', '/specversion'],
    [{ ...CLOUD_EVENT, specversion: undefined }, 'cloud_event_invalid', '/specversion'],
    [{ ...CLOUD_EVENT, id: undefined }, 'field_missing', '/id'],
    [{ ...CLOUD_EVENT, source: '' }, 'field_type', '/source'],
    [{ ...CLOUD_EVENT, id: 7 }, 'field_type', '/id'],
    [{ ...CLOUD_EVENT, source: 'a b', id: 'c' }, 'cloud_event_invalid', '/source'],
    [{ ...CLOUD_EVENT, source: 'a\u00a0b', id: 'c' }, 'cloud_event_invalid', '/source'],
    [{ ...CLOUD_EVENT, id: ' 7' }, 'text_blank_around', '/id'],
    [{ ...CLOUD_EVENT, source: '\ufeff/billing' }, 'text_blank_around', '/source'],
    [{ ...CLOUD_EVENT, quantity: 5 }, 'field_unknown', '/quantity'],
    [{ ...CLOUD_EVENT, customerId: 'x' }, 'field_unknown', '/customerId'],
    [{ ...CLOUD_EVENT, data_base64: 'eA==' }, 'cloud_event_invalid', '/data_base64'],
    [{ ...CLOUD_EVENT, datacontenttype: 'text/xml' }, 'cloud_event_invalid', '/datacontenttype'],
    [{ ...CLOUD_EVENT, data: 5 }, 'field_type', '/data'],
    [{ ...CLOUD_EVENT, data: { quantty: 5 } }, 'field_unknown', '/data/quantty'],
    [{ ...CLOUD_EVENT, data: { customerId: 'other' } }, 'field_unknown', '/data/customerId'],
    [{ ...CLOUD_EVENT, data: JSON.parse('{"__proto__":{}}') }, 'field_unknown', '/data/__proto__'],
  ];
  it.each(refusals)('%j is refused', (value, code, pointer) => {
    expect(fromCloudEvent(value)).toMatchObject({ fault: { code, pointer } });
  });

  it('of another meter has its properties as data, and may have no time', () => {
    const { time: _, ...timeless } = CLOUD_EVENT;
    const data = { tokens: '15', model: 'large', cached: true };
    const shared = { idempotencyKey: '/billing 7', customerId: 'acme', eventType: 'api.call', properties: data };
    expect(fromCloudEvent({ ...timeless, data }, 'properties')).toMatchObject({ fields: shared, isTimeless: true });
    const timed = { fields: { ...shared, occurredAt: CLOUD_EVENT.time }, isTimeless: false };
    expect(fromCloudEvent({ ...CLOUD_EVENT, data }, 'properties')).toEqual(timed);
    expect(fromCloudEvent(timeless, 'properties')).not.toHaveProperty('fields.properties');
    expect(fromCloudEvent({ ...CLOUD_EVENT, data })).toMatchObject({ fault: { pointer: '/data/tokens' } });
  });

  it('means the same in each mode', () => {
    const data = { quantity: '2' };
    const structured = read(JSON.stringify({ ...CLOUD_EVENT, data }), { mediaType: 'application/cloudevents+json' });
    const batch = read(JSON.stringify([{ ...CLOUD_EVENT, data }]), { mediaType: 'application/cloudevents-batch+json' });
    const binary = read(JSON.stringify(data), { cloudEvent: CLOUD_EVENT });
    expect(batch).toEqual(structured);
    expect(binary).toEqual(structured);
    expect(read('', { cloudEvent: CLOUD_EVENT }).values).toMatchObject([{ idempotencyKey: '/billing 7' }]);
  });

  it('in a batch is refused on its own', () => {
    const body = JSON.stringify([CLOUD_EVENT, { ...CLOUD_EVENT, id: 5 }]);
    const input = read(body, { mediaType: 'application/cloudevents-batch+json' });
    expect([...input.faults.keys()]).toEqual([1]);
    expect(codeOf(() => read('{}', { mediaType: 'application/cloudevents-batch+json' }))).toBe('batch_not_an_array');
    expect(codeOf(() => read('[]', { mediaType: 'application/cloudevents-batch+json' }))).toBe('no_events');
  });
});

describe('the kept text of a refusal', () => {
  it('is the same JSON as long as it is short and flat enough', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 8 }), (value) => {
        const { text, truncated } = toRejectedText(value);
        fc.pre(!truncated);
        expect(text).toBe(JSON.stringify(value));
      }),
    );
  });

  it('never takes more bytes than it may, and is well-formed', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'binary' }), fc.integer({ min: 1, max: 4_000 }), (value, times) => {
        const { text } = toRejectedText(Array.from({ length: times }, () => value));
        expect(Buffer.byteLength(text)).toBeLessThanOrEqual(REJECTED_TEXT_BYTES_MAX);
        expect(text.isWellFormed()).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  it('survives any depth, and says what it left out', () => {
    const deep: unknown = JSON.parse(`${'['.repeat(500_000)}${']'.repeat(500_000)}`);
    const { text, truncated } = toRejectedText(deep);
    expect(truncated).toBe(true);
    expect(text).toMatch(/^\[+"…"\]+$/);
  });

  it('keeps unpaired surrogates as escapes, and numbers out of range as such', () => {
    const input: unknown = JSON.parse('["\\ud800",1e400,-1e400]');
    expect(toRejectedText(input).text).toBe('["\\ud800",1e999,-1e999]');
  });

  it('says when it was cut', () => {
    expect(toRejectedText('x'.repeat(20_000))).toMatchObject({ truncated: true });
    expect(toRejectedText(Array.from({ length: 20_000 }, () => 1))).toMatchObject({ truncated: true });
    expect(toRejectedText({ a: 'ä'.repeat(20_000) }).truncated).toBe(true);
    expect(cutRejectedText('{"a"')).toEqual({ text: '{"a"', truncated: false });
    const cut = cutRejectedText('ä'.repeat(20_000));
    expect(cut).toMatchObject({ truncated: true });
    expect(Buffer.byteLength(cut.text)).toBe(REJECTED_TEXT_BYTES_MAX);
  });
});

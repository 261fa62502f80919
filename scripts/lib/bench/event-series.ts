/** Made-up usage: the event of an index is always the same, so that it can be sent again. */
import type { UsageEvent } from '../../../src/usage/usage-event.ts';

export interface EventSeries {
  /** When the event with index 0 occurred, UTC milliseconds. */
  readonly startMs: number;
  /** Time from one event to the next, microseconds. */
  readonly stepMicros: number;
  /** Customers take turns. */
  readonly customers: number;
}

export const EVENT_TYPE = 'api_call';
const EVENTS_PER_KEY_MS = 16;
const PLANS = ['basic', 'pro', 'scale'];

export function eventOf(series: EventSeries, index: number): UsageEvent {
  return {
    idempotencyKey: keyOf(series, index),
    customerId: customerOf(index % series.customers),
    eventType: EVENT_TYPE,
    occurredAtMs: series.startMs + Math.floor((index * series.stepMicros) / 1_000),
    quantity: `${1 + (index % 97)}.5`,
    properties: [
      ['plan', PLANS[index % PLANS.length] ?? ''],
      ['region', index % 4 === 0 ? 'eu-west' : 'us-east'],
    ],
  };
}

export function customerOf(number: number): string {
  return `customer-${String(number).padStart(6, '0')}`;
}

/** As a caller sends it. */
export function jsonOf(series: EventSeries, index: number): string {
  const event = eventOf(series, index);
  const properties = JSON.stringify(Object.fromEntries(event.properties ?? []));
  return (
    `{"idempotencyKey":"${event.idempotencyKey}","customerId":"${event.customerId}","eventType":"${event.eventType}",` +
    `"occurredAt":"${new Date(event.occurredAtMs).toISOString()}","quantity":"${event.quantity}",` +
    `"properties":${properties}}`
  );
}

/** Laid out like a UUIDv7 (RFC 9562): 48 bits of time and a counter in front, the rest without order. */
function keyOf(series: EventSeries, index: number): string {
  const time = (series.startMs + Math.floor(index / EVENTS_PER_KEY_MS)).toString(16).padStart(12, '0');
  const counter = (index % EVENTS_PER_KEY_MS).toString(16).padStart(3, '0');
  const variant = (0x8000 | (scramble(index) & 0x3fff)).toString(16);
  const tail =
    scramble(index + 0x5bd1e995)
      .toString(16)
      .padStart(8, '0') + scramble(~index).toString(16).slice(-4);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${counter}-${variant}-${tail.padEnd(12, '0')}`;
}

/** Spreads an integer over 32 bits (the finisher of MurmurHash3). */
function scramble(value: number): number {
  let mixed = value | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

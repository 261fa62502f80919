import type { Account } from '../route.ts';
import type { ThinEvents } from './thin-events.ts';

/** The reasons for which Stripe drops a meter event it has answered with 200 (Stripe docs, Record usage; SDK enum). */
export const meterErrorCodes = [
  'archived_meter',
  'meter_event_customer_not_found',
  'meter_event_invalid_value',
  'meter_event_no_customer_defined',
  'meter_event_value_not_found',
  'meter_event_value_too_many_digits',
  'no_meter',
  'timestamp_in_future',
  'timestamp_too_far_in_past',
] as const;
export type MeterErrorCode = (typeof meterErrorCodes)[number];

/** A meter event that was answered 200 and then not counted: what Stripe reports later, as samples. */
export interface AsyncRejection {
  identifier: string;
  idempotencyKey: string | undefined;
  /** As in the error reports of Stripe's thin events. */
  code: MeterErrorCode;
  message: string;
  /** Absent where no meter was found. */
  meterId: string | undefined;
  eventName: string;
  /** Empty where the payload named none. */
  customer: string;
  /** UTC milliseconds. */
  at: number;
}

interface Window {
  meterId: string | undefined;
  start: number;
  end: number;
  rejections: AsyncRejection[];
}

/**
 * Gathers rejections into reports: those of one meter within a validation window make one thin event, created a little
 * after the window's end (both examples of Stripe's documentation: 10 s, then about 2 s). Only samples are named.
 */
export class ErrorReports {
  readonly #account: Account;
  readonly #events: ThinEvents;
  readonly #rejections: AsyncRejection[] = [];
  readonly #windows = new Map<string, Window>();

  constructor(account: Account, events: ThinEvents) {
    this.#account = account;
    this.#events = events;
  }

  /** Every rejection so far, also those no report names. */
  get rejections(): readonly AsyncRejection[] {
    return this.#rejections;
  }

  add(rejection: AsyncRejection): void {
    this.#rejections.push(rejection);
    const { errorReportWindowMs, errorReportDelayMs } = this.#account.switches;
    const start = Math.floor(rejection.at / errorReportWindowMs) * errorReportWindowMs;
    const key = `${rejection.meterId ?? ''} ${start}`;
    const present = this.#windows.get(key);
    if (present !== undefined) {
      present.rejections.push(rejection);
      return;
    }
    const window = { meterId: rejection.meterId, start, end: start + errorReportWindowMs, rejections: [rejection] };
    this.#windows.set(key, window);
    this.#account.agenda.add(window.end + errorReportDelayMs, (atMs) => {
      this.#windows.delete(key);
      this.#report(window, atMs);
    });
  }

  #report({ meterId, start, end, rejections }: Window, atMs: number): void {
    const { length } = rejections;
    this.#events.create(
      {
        type: meterId === undefined ? 'v1.billing.meter.no_meter_found' : 'v1.billing.meter.error_report_triggered',
        relatedObject:
          meterId === undefined
            ? undefined
            : { id: meterId, type: 'billing.meter', url: `/v1/billing/meters/${meterId}` },
        data: {
          developer_message_summary: length === 1 ? 'There is 1 invalid event' : `There are ${length} invalid events`,
          reason: { error_count: length, error_types: this.#errorTypes(rejections) },
          validation_end: new Date(end).toISOString(),
          validation_start: new Date(start).toISOString(),
        },
      },
      atMs,
    );
  }

  #errorTypes(rejections: readonly AsyncRejection[]): object[] {
    const byCode = new Map<string, AsyncRejection[]>();
    for (const rejection of rejections) {
      const present = byCode.get(rejection.code);
      if (present === undefined) byCode.set(rejection.code, [rejection]);
      else present.push(rejection);
    }
    const { errorReportSamples } = this.#account.switches;
    return [...byCode].map(([code, those]) => ({
      code,
      error_count: those.length,
      sample_errors: those.slice(0, errorReportSamples).map((rejection) => this.#sample(rejection)),
    }));
  }

  /** Stripe's own examples and its SDK disagree about what names the event, so the switch decides. */
  #sample({ identifier, idempotencyKey = '', message }: AsyncRejection): object {
    const requests = {
      identifier: { identifier },
      'key-as-identifier': { identifier: idempotencyKey },
      'idempotency-key': { id: '', idempotency_key: idempotencyKey },
    };
    return { error_message: message, request: requests[this.#account.switches.errorReportSampleForm] };
  }
}

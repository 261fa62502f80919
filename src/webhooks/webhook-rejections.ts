import { toRecord } from './webhook.ts';

/** One meter event that Stripe took and then refused, as a report names it. */
export interface RejectionSample {
  readonly code: string;
  readonly message: string;
  /** The meter event's identifier, or the idempotency key it was sent with. */
  readonly identifier: string;
}

/** What a fetched error report says. Only samples are named; the counts are of all. */
export interface RejectionReport {
  readonly eventId: string;
  readonly errorCount: number;
  readonly samples: readonly RejectionSample[];
}

const TEXT_LENGTH_MAX = 500;

/**
 * Reads the samples of `v1.billing.meter.error_report_triggered` and `v1.billing.meter.no_meter_found`. Stripe documents
 * two forms of a sample's request: `{identifier}`, described as the request's idempotency key, and
 * `{id, idempotency_key}`. Whatever lacks both is counted and not named.
 * @param data the `data` of the fetched event; anything that is not a report has no samples.
 */
export function readRejectionReport(eventId: string, data: unknown): RejectionReport {
  const reason = toRecord(toRecord(data)['reason']);
  const samples = toList(reason['error_types']).flatMap((errorType) => {
    const { code, sample_errors: errors } = toRecord(errorType);
    return toList(errors).flatMap((error) => readSample(code, error));
  });
  const count = reason['error_count'];
  return { eventId, errorCount: typeof count === 'number' ? count : samples.length, samples };
}

function readSample(code: unknown, error: unknown): RejectionSample[] {
  const { error_message: message, request } = toRecord(error);
  const { identifier, idempotency_key: idempotencyKey } = toRecord(request);
  const name = [identifier, idempotencyKey].find((text) => typeof text === 'string' && text !== '');
  if (typeof name !== 'string') return [];
  return [{ code: toText(code, 'unknown'), message: toText(message, ''), identifier: name }];
}

function toList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : [];
}

function toText(value: unknown, otherwise: string): string {
  return typeof value === 'string' ? value.slice(0, TEXT_LENGTH_MAX) : otherwise;
}

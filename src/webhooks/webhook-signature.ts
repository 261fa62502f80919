import { DaemonError } from '../platform/errors.ts';

/** How far the time of a signature may lie from ours, either way. */
export const SIGNATURE_SKEW_SECONDS_MAX = 300;

/** A real header has some 150 characters, a few hundred while secrets are rolled. */
const HEADER_LENGTH_MAX = 4_096;
const ELEMENT = /^([a-z][a-z0-9]{0,15})=([A-Za-z0-9_-]{1,256})$/;
const SECONDS = /^[1-9][0-9]{0,11}$/;
const SCHEME = 'v1';

/**
 * Checks the form and the time of a `Stripe-Signature` header, before anything is computed from it: comma-separated
 * `name=value` without spaces, exactly one `t`, at least one `v1`. Other schemes are let through and never decide.
 * The package that verifies the signature itself takes the last of several `t`, reads `1x` as 1, cuts `a=b` off and
 * knows no future; so all that is settled here.
 * @throws DaemonError `webhook_signature_missing`, `webhook_signature_malformed`, `webhook_timestamp_refused`.
 */
export function checkSignatureHeader(header: string | undefined, nowMs: number): string {
  if (header === undefined || header === '') {
    throw refused('webhook_signature_missing', 'There is no Stripe-Signature header.');
  }
  const elements = header.length > HEADER_LENGTH_MAX ? [] : header.split(',').map((text) => ELEMENT.exec(text));
  const times = elements.filter((element) => element?.[1] === 't');
  const isComplete = elements.length > 0 && elements.every((element) => element !== null);
  const hasScheme = elements.some((element) => element?.[1] === SCHEME);
  const time = times[0]?.[2] ?? '';
  if (!isComplete || !hasScheme || times.length !== 1 || !SECONDS.test(time)) {
    throw refused('webhook_signature_malformed', 'The Stripe-Signature header needs one time t and a signature v1.');
  }
  const ageSeconds = Math.floor(nowMs / 1_000) - Number(time);
  if (Math.abs(ageSeconds) > SIGNATURE_SKEW_SECONDS_MAX) {
    throw refused('webhook_timestamp_refused', 'The signature is too old, or from the future.', { ageSeconds });
  }
  return header;
}

function refused(code: string, message: string, context?: Record<string, unknown>): DaemonError {
  return new DaemonError({ kind: 'invalid', code, message, ...(context && { context }) });
}

import { createHmac } from 'node:crypto';

/** What a `Stripe-Signature` is made from. */
export interface SignatureInput {
  /** The body exactly as it is sent. */
  body: string;
  secret: string;
  /** Unix seconds. */
  timestamp: number;
  /** Adds a `v1` of another secret in front, as while a secret is rolled. */
  withSecondV1?: boolean;
  /** Adds the fake `v0` that test events may carry. */
  withV0?: boolean;
}

/** `t=…,v1=…`: hex HMAC-SHA256 of `"{t}.{body}"` (Stripe docs, Verify webhook signatures). */
export function signatureHeader({ body, secret, timestamp, withSecondV1, withV0 }: SignatureInput): string {
  const sign = (key: string): string => createHmac('sha256', key).update(`${timestamp}.${body}`).digest('hex');
  return [
    `t=${timestamp}`,
    ...(withSecondV1 === true ? [`v1=${sign(`${secret}_rolled`)}`] : []),
    `v1=${sign(secret)}`,
    ...(withV0 === true ? [`v0=${sign(`${secret}_fake`)}`] : []),
  ].join(',');
}

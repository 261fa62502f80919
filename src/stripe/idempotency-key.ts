/**
 * The `Idempotency-Key` of an attempt. It equals the identifier, so that an error report can be joined by either; but
 * after an answer that Stripe stores under the key and would replay (5xx, or a refusal whose cause has been mended since)
 * the same identifier goes out under a fresh key.
 * @param storedAnswers how many attempts had such an answer.
 */
export function idempotencyKeyFor(identifier: string, storedAnswers: number): string {
  return storedAnswers === 0 ? identifier : `${identifier}.r${storedAnswers}`;
}

/** The identifier behind an `Idempotency-Key` of ours, or behind an identifier: error reports carry either. */
export function identifierOfKey(key: string): string {
  return key.replace(/\.r\d+$/, '');
}

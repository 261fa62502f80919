/** How the command line repeats requests. */
import { expect, it } from 'vitest';
import type { ApiAnswer } from '../../scripts/lib/api-client.ts';
import { withRetries } from '../../scripts/lib/retry.ts';

const answer = (status: number): ApiAnswer => ({ status, body: {}, retryAfterMs: 0 });

it('obeys a daemon that asks for fewer requests for as long as it takes, and gives up none of the work', async () => {
  let asked = 0;
  const reasons: string[] = [];
  const last = await withRetries(
    () => {
      asked += 1;
      return Promise.resolve(answer(asked <= 12 ? 429 : 200));
    },
    { onWait: (reason) => reasons.push(reason) },
  );
  expect([last.status, asked]).toEqual([200, 13]);
  expect(reasons).toEqual(Array.from({ length: 12 }, () => 'answer 429'));
});

it('returns at once what is no matter of patience', async () => {
  let asked = 0;
  const last = await withRetries(() => {
    asked += 1;
    return Promise.resolve(answer(422));
  });
  expect([last.status, asked]).toEqual([422, 1]);
});

/** The OpenAPI document that is served, and whether the daemon does what it says. */
import { describe, expect, it } from 'vitest';
import { faultText, fuzz, sendTo } from '../../scripts/lib/fuzz/fuzz.ts';
import { type OpenApiDocument, operationsOf } from '../../scripts/lib/fuzz/open-api.ts';
import { ADMIN_KEY, withDaemon } from '../support/daemon.ts';

const REQUESTS = 2_000;
const SEED = 20_261_121;

describe('the OpenAPI document', () => {
  it('documents of every route under /v1 a success and, as a problem, everything else', async () => {
    await withDaemon({ environment: { ROLES: 'http' } }, async (daemon) => {
      const operations = operationsOf(await daemon.get<OpenApiDocument>('/openapi.json'));
      expect(operations.length).toBeGreaterThan(30);
      for (const { method, path, responses } of operations.filter((operation) => operation.path.startsWith('/v1/'))) {
        expect(
          Object.keys(responses).some((status) => status.startsWith('2')),
          `${method} ${path}`,
        ).toBe(true);
        expect(Object.keys(responses['default']?.content ?? {}), `${method} ${path}`).toEqual([
          'application/problem+json',
        ]);
      }
    });
  });

  it(`is what the daemon does: ${REQUESTS} requests, valid, mutated and hostile`, { timeout: 600_000 }, async () => {
    await withDaemon({ environment: { ROLES: 'http' } }, async (daemon) => {
      const document = await daemon.get<OpenApiDocument>('/openapi.json');
      const result = await fuzz({ document, seed: SEED, requests: REQUESTS, send: sendTo(daemon.url, ADMIN_KEY) });
      expect(result.faults.map(faultText).join('\n\n'), `scripts/fuzz --seed ${SEED} --requests ${REQUESTS}`).toBe('');
      expect([...result.statuses.values()].reduce((sum, count) => sum + count, 0)).toBe(REQUESTS);
      expect(result.reached.size).toBeGreaterThan(15);
      expect((await daemon.get<{ status: string }>('/livez')).status).toBe('ok');
    });
  });
});

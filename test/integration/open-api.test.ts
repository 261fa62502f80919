/** The OpenAPI document that is served, and whether the daemon does what it says. */
import { describe, expect, it } from 'vitest';
import { faultText, fuzz, sendTo } from '../../scripts/lib/fuzz/fuzz.ts';
import { type OpenApiDocument, operationsOf } from '../../scripts/lib/fuzz/open-api.ts';
import { setScene } from '../../scripts/lib/fuzz/set-scene.ts';
import { startSimulator } from '../../packages/stripe-double/src/simulator.ts';
import { ADMIN_KEY, type LentDaemon, withDaemon } from '../support/daemon.ts';
import { withDatabase } from '../support/services.ts';

const REQUESTS = 2_000;
const SEED = 20_261_121;

/** A daemon that serves a database with something behind every list, and runs no job that it is asked for. */
async function withScene(use: (daemon: LentDaemon) => Promise<void>): Promise<void> {
  await withDatabase(async (db) => {
    const simulator = await startSimulator({ rateLimitPerSecond: 0 });
    const shared = { MONGODB_DATABASE: db.databaseName, STRIPE_API_BASE: simulator.url };
    try {
      await withDaemon({ environment: shared }, ({ url }) => setScene(url, ADMIN_KEY, simulator.url));
      await withDaemon({ environment: { ...shared, ROLES: 'http' } }, use);
    } finally {
      await simulator.stop();
    }
  });
}

describe('the OpenAPI document', () => {
  it('documents of every route under /v1 a success and, as a problem, everything else', async () => {
    await withDaemon({ environment: { ROLES: 'http' } }, async (daemon) => {
      const operations = operationsOf(await daemon.get<OpenApiDocument>('/openapi.json'));
      expect(operations.length).toBeGreaterThan(30);
      for (const { method, path, responses } of operations.filter((operation) => operation.path.startsWith('/v1/'))) {
        const statuses = Object.keys(responses);
        expect(
          statuses.some((status) => status.startsWith('2')),
          `${method} ${path}`,
        ).toBe(true);
        const problem = Object.keys(responses['default']?.content ?? {});
        expect(problem, `${method} ${path}`).toEqual(['application/problem+json']);
      }
    });
  });

  it(`is what the daemon does: ${REQUESTS} requests, valid, mutated and hostile`, { timeout: 900_000 }, async () => {
    await withScene(async (daemon) => {
      const document = await daemon.get<OpenApiDocument>('/openapi.json');
      const result = await fuzz({ document, seed: SEED, requests: REQUESTS, send: sendTo(daemon.url, ADMIN_KEY) });
      expect(result.faults.map(faultText).join('\n\n'), `scripts/fuzz --seed ${SEED} --requests ${REQUESTS}`).toBe('');
      expect([...result.statuses.values()].reduce((sum, count) => sum + count, 0)).toBe(REQUESTS);
      expect(result.reached.size).toBeGreaterThan(25);
      expect((await daemon.get<{ status: string }>('/livez')).status).toBe('ok');
    });
  });
});

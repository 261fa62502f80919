/** `tallystick keys` as a person uses it, on the database that the environment names. */
import { describe, expect, it } from 'vitest';
import { Authenticator } from '../../src/platform/http/auth.ts';
import { ApiKeys } from '../../src/platform/mongo/api-keys.ts';
import { tallystick } from '../support/command-line.ts';
import { mongodbUri, redisUrl, withDatabase } from '../support/services.ts';

const HOUR_MS = 3_600_000;

describe('tallystick keys rotate', () => {
  it('makes a key in place of another, which is taken until the overlap ends', async () => {
    await withDatabase(async (db) => {
      const keys = new ApiKeys(db);
      const old = await keys.create({ name: 'application', scopes: ['events:write'] }, new Date());
      const env = { MONGODB_URI: mongodbUri(), MONGODB_DATABASE: db.databaseName, REDIS_URL: redisUrl() };
      const rotate = (...args: string[]) =>
        tallystick(['keys', 'rotate', old.record.id, '--overlap', '2h', ...args], { env });

      const dry = await rotate('--dry-run');
      expect([dry.code, dry.stdout]).toEqual([0, expect.stringMatching(/would rotate application; valid until 20/)]);
      expect(await keys.list()).toHaveLength(1);

      const done = await rotate();
      expect(done.code).toBe(0);
      const fresh = done.stdout.trim();
      expect(fresh).toMatch(/^tly_/);
      expect(done.stderr).toContain(`The old one (${old.record.prefix}…) is taken until 20`);
      expect(done.stderr).not.toContain(old.key);

      let nowMs = Date.now();
      const authenticator = new Authenticator({ findApiKey: (id) => keys.find(id), clock: { now: () => nowMs } });
      const scopesOf = async (key: string) => (await authenticator.principalOf(`Bearer ${key}`)).scopes;
      expect(await scopesOf(fresh)).toEqual(['events:write']);
      expect(await scopesOf(old.key)).toEqual(['events:write']);
      nowMs += 3 * HOUR_MS;
      expect(await scopesOf(fresh)).toEqual(['events:write']);
      await expect(scopesOf(old.key)).rejects.toMatchObject({ code: 'api_key_expired' });

      const again = await rotate();
      expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('was rotated already')]);
    });
  });

  it('refuses an overlap that is no duration', async () => {
    const env = { MONGODB_URI: mongodbUri(), REDIS_URL: redisUrl() };
    const { code, stderr } = await tallystick(['keys', 'rotate', 'abcdef123456', '--overlap', '1 day'], { env });
    expect([code, stderr]).toEqual([2, expect.stringContaining('30m, 24h or 7d')]);
  });
});

/** What the command line says to somebody who does not know it yet: versions, names, customers nobody told it about. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tallystick } from '../support/command-line.ts';
import { withDaemon } from '../support/daemon.ts';
import { REPOSITORY } from '../support/source-files.ts';

const { version } = JSON.parse(readFileSync(join(REPOSITORY, 'package.json'), 'utf8')) as { version: string };
const METER = '{"eventType":"call","aggregation":"sum","stripe":{"eventName":"calls"}}';

describe('the command line', () => {
  it('and the daemon say which version they are, and the address alone leads to the interface', () =>
    withDaemon({}, async (daemon) => {
      const { cli } = daemon;
      const [asked, status, live, root] = await Promise.all([
        cli('--version'),
        cli('status'),
        fetch(`${daemon.url}/livez`),
        fetch(daemon.url, { redirect: 'manual' }),
      ]);
      expect(asked).toMatchObject({ code: 0, stdout: `${version}\n` });
      expect(status.stdout).toMatch(new RegExp(`version ${version.replaceAll('.', '\\.')}$`, 'm'));
      expect(await live.json()).toEqual({ status: 'ok', version });
      expect([root.status, root.headers.get('location')]).toEqual([302, '/docs']);
      const page = await fetch(`${daemon.url}/docs`);
      expect(await page.text()).toContain('<title>Tallystick</title>');
    }));

  it('names the nearest and all there are, once, where a name is wrong', { timeout: 120_000 }, async () => {
    const run = (...args: string[]) => tallystick(args, { env: {} });
    const [verb, part, option, choice, check] = await Promise.all([
      run('metres', 'list'),
      run('meters', 'putt'),
      run('send', '--costumer', 'acme'),
      run('reconcile', 'guards', '--state', 'hold'),
      run('doctor', 'mongo'),
    ]);
    const refusals = [
      [verb, /unknown command 'metres'\. Did you mean "meters"\? There are .*status, .*customers/],
      [part, /unknown command 'putt'\. Did you mean "put"\? There are .*list, put/],
      [option, /unknown option '--costumer'\. Did you mean "--customer"\? There are .*--quantity/],
      [choice, /'hold' is invalid\. Allowed choices are .*held.* Did you mean "held"\?/],
      [check, /'mongo' is invalid for argument 'check'\. Allowed choices are .*mongodb.* Did you mean "mongodb"\?/],
    ] as const;
    for (const [{ code, stderr }, text] of refusals) {
      expect([code, stderr]).toEqual([2, expect.stringMatching(text)]);
      expect(stderr.match(/Did you mean/g)).toHaveLength(1);
    }
  });

  it('shows a customer that is known from its events only, and how to map it', { timeout: 120_000 }, () =>
    withDaemon({}, async (daemon) => {
      const { cli } = daemon;
      expect(await cli('meters', 'put', 'calls', METER)).toMatchObject({
        code: 0,
        stdout: expect.stringMatching(/definition[\s\S]*editable/),
      });
      await cli('send', '--customer', 'ghost', '--type', 'call', '--quantity', '5', '--key', 'k1');
      const ghost = await cli('customers', 'show', 'ghost');
      expect(ghost).toMatchObject({ code: 0, stdout: expect.stringMatching(/customers put 'ghost'[\s\S]*calls +5/) });
      const nobody = await cli('customers', 'show', 'nobody');
      expect(nobody).toMatchObject({ code: 1, stderr: expect.stringContaining('nothing is known of the customer') });

      expect((await cli('meters', 'sync')).stdout).toMatch(/calls +calls +created +\S+ +(?:editable|in use)/);
      await daemon.run('aggregate-usage');
      expect((await cli('meters', 'sync')).stdout).toMatch(/calls +calls +present +\S+ +in use/);
      expect((await cli('meters', 'list')).stdout).toMatch(/calls +in use/);
    }),
  );
});

/** The first ten minutes: what is printed and written for a newcomer is run exactly as it stands, in an empty folder. */
import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { addQuantities } from '../../src/platform/quantity.ts';
import { buildProgram, withDevSession } from '../support/dev-session.ts';
import { REPOSITORY } from '../support/source-files.ts';

const MINUTES_MS = 60_000;

/** The commands of a text, block by block: the lines that are indented. */
function commandBlocks(printed: string): string[] {
  return printed
    .split(/\n(?! {2}|\n)/)
    .map((part) =>
      part
        .split('\n')
        .filter((line) => line.startsWith('  '))
        .join('\n'),
    )
    .filter((block) => block !== '');
}

/** What the `tallystick send` commands of a text come to. */
function sentQuantity(commands: string): string {
  return addQuantities(
    '0',
    ...[...commands.matchAll(/tallystick send .*--quantity (\S+)/g)].map(([, quantity = '0']) => quantity),
  );
}

/** The cells of the rows of a table that `dev advance` printed: `billed` and `used`. */
function billedLines(stdout: string): { billed: string | undefined; used: string | undefined }[] {
  return [...stdout.matchAll(/^in_\S+ .*$/gm)].map(([row]) => {
    const cells = row.split(/ {2,}/);
    return { billed: cells.at(-3), used: cells.at(-2) };
  });
}

describe('the first ten minutes', () => {
  beforeAll(buildProgram, 10 * MINUTES_MS);

  it('end at an invoice line over what was sent, by what `tallystick dev` prints', { timeout: 10 * MINUTES_MS }, () =>
    withDevSession({ start: 'tallystick dev' }, async ({ folder, printed, type }) => {
      const { stdout } = printed();
      const [here = '', elsewhere = '', ...more] = commandBlocks(stdout);
      expect(more).toEqual([]);
      expect(stdout).toMatch(/^tallystick \d+\.\d+\.\d+ /m);
      const quantity = sentQuantity(here);
      expect(quantity).not.toBe('0');

      const walked = await type(here);
      expect(walked).toMatchObject({ code: 0 });
      expect(billedLines(walked.stdout)).toEqual([{ billed: quantity, used: quantity }]);

      // Another folder, in which nothing is found: the export block brings everything, for verbs of both kinds.
      const empty = join(folder, '..', 'other');
      await mkdir(empty);
      const typed = await type(`${elsewhere}\n  tallystick meters list --json\n  tallystick doctor mongodb`, empty);
      expect(typed).toMatchObject({ code: 0, stdout: expect.stringContaining('"customerId":"acme"') });
      expect(typed.stdout).toContain('"key": "api_calls"');
      const lost = await type('tallystick meters list', empty);
      expect(lost).toMatchObject({ code: 3, stderr: expect.stringContaining('no API key was given') });

      // What happened was told line by line, foreign to standard output.
      const told = printed().stderr;
      for (const line of [
        /event +acme api_call 3 \(req:1\)/,
        /meter event acme api_calls \S+ accepted/,
        /webhook +invoice\.created in_/,
        /run +submit-meter-events: .*calls 1/,
      ]) {
        expect(told).toMatch(line);
      }
      expect(printed().stdout).toBe(stdout);
    }),
  );

  it(
    'end at an invoice line by the shell blocks of the README, and the next one sends usage',
    { timeout: 10 * MINUTES_MS },
    () => {
      const readme = readFileSync(join(REPOSITORY, 'README.md'), 'utf8');
      const blocks = [...readme.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block = '']) => block);
      expect(readme.split('\n').length).toBeLessThanOrEqual(151);
      const [before = '', start = '', path = '', sending = '', ...more] = blocks;
      expect([blocks.length, more, start]).toEqual([4, [], 'tallystick dev\n']);
      const quantity = sentQuantity(path);
      expect(readme).toContain(`${quantity} billed, ${quantity} used`);
      return withDevSession({ before, start }, async ({ printed, type }) => {
        const walked = await type(path);
        expect(walked).toMatchObject({ code: 0 });
        expect(billedLines(walked.stdout)).toEqual([{ billed: quantity, used: quantity }]);
        const [, exports = ''] = /^( {2}export (?:.*\\\n)*.*\n)/m.exec(printed().stdout) ?? [];
        const sent = await type(`${exports}${sending}`);
        expect(sent).toMatchObject({ code: 0, stdout: expect.stringContaining('"accepted":1') });
      });
    },
  );
});

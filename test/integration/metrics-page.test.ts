/** docs/metrics.md lists what `/metrics` serves: nothing more, nothing less. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { withDaemon } from '../support/daemon.ts';
import { REPOSITORY } from '../support/source-files.ts';

it('lists every metric with its kind and what it tells, as the daemon serves them', () =>
  withDaemon({}, async ({ url }) => {
    const served = await (await fetch(`${url}/metrics`)).text();
    const kinds = new Map(
      [...served.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', kind = '']) => [name, kind]),
    );
    const lines = [...served.matchAll(/^# HELP (\S+) (.*)$/gm)].map(([, name = '', help = '']) => {
      return `- \`${name}\` (${kinds.get(name) ?? 'unknown'}): ${help}`;
    });
    expect(lines.length).toBeGreaterThan(20);
    const page = readFileSync(join(REPOSITORY, 'docs/metrics.md'), 'utf8');
    // A line of the page may be broken; what it says may not differ.
    const listed = [...page.replaceAll(/\n {2}(?=\S)/g, ' ').matchAll(/^- `tallystick_.*$/gm)].map(([line]) => line);
    expect(listed.toSorted()).toEqual(lines.toSorted());
  }));

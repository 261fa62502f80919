/** package-lock.json: what is installed runs on the Node that we promise, and is what was published. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { REPOSITORY } from '../support/source-files.ts';

interface LockEntry {
  readonly version: string;
  readonly integrity?: string;
  readonly engines?: { readonly node?: string };
}

const read = (path: string): unknown => JSON.parse(readFileSync(join(REPOSITORY, path), 'utf8'));
const { packages } = read('package-lock.json') as { packages: Record<string, LockEntry> };
const manifest = read('package.json') as { engines: { node: string } };
const entries = Object.entries(packages).filter(([path]) => path !== '');

/** The oldest Node that we promise, one of each line that is in use, and the image's. */
const NODES = ['20.19.0', '20.20.2', '22.13.0', '24.0.0'];
/** Packages without a checksum, each with the reason. A registry that does not carry a platform's build has none. */
const WITHOUT_INTEGRITY: Readonly<Record<string, string>> = {};

/** Whether a version is in a range of an `engines` field: `>=20`, `^20.19.0 || >=22.12.0`, `18 || 20`, `>= 10.x`, `*`. */
function isInRange(version: string, range: string): boolean {
  return range.split('||').some((part) => {
    const comparators = part
      .trim()
      .replaceAll(/(>=|>|<=|<|\^|~)\s+/g, '$1')
      .split(/\s+/);
    return comparators.every((comparator) => isMatch(version, comparator));
  });
}

function isMatch(version: string, comparator: string): boolean {
  const [, operator = '', text = ''] = /^(>=|>|<=|<|\^|~|=)?v?(.*)$/.exec(comparator) ?? [];
  if (text === '*' || text === '') return true;
  const given = text
    .split('.')
    .filter((part) => /^\d+$/.test(part))
    .map(Number);
  const order = compare(version.split('.').map(Number), given);
  if (operator === '>=') return order >= 0;
  if (operator === '<') return order < 0;
  if (operator === '<=') return order <= 0;
  if (operator === '>') return order > 0;
  const isSameLine = Number(version.split('.')[0]) === given[0];
  if (operator === '^') return isSameLine && order >= 0;
  if (operator === '~') return isSameLine && order >= 0 && Number(version.split('.')[1]) === (given[1] ?? 0);
  return version
    .split('.')
    .slice(0, given.length)
    .map(Number)
    .every((part, index) => part === given[index]);
}

function compare(one: readonly number[], other: readonly number[]): number {
  for (let index = 0; index < 3; index += 1) {
    const difference = (one[index] ?? 0) - (other[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

describe('package-lock.json', () => {
  it('holds no package that refuses a Node that we promise', () => {
    expect(entries.length).toBeGreaterThan(200);
    expect(isInRange('20.19.0', manifest.engines.node)).toBe(true);
    expect(isInRange('20.18.3', manifest.engines.node)).toBe(false);
    const refusing = entries.flatMap(([path, { engines }]) =>
      NODES.filter((node) => engines?.node !== undefined && !isInRange(node, engines.node)).map(
        (node) => `${path} wants ${engines?.node ?? ''} and not ${node}`,
      ),
    );
    expect(refusing).toEqual([]);
  });

  it('would notice one that does', () => {
    const ranges: [version: string, range: string, isIn: boolean][] = [
      ['20.19.0', '>=22', false],
      ['20.19.0', '^20.19.0 || >=22.12.0', true],
      ['21.0.0', '^20.19.0 || >=22.12.0', false],
      ['20.19.0', '18 || 20 || >=22', true],
      ['20.19.0', '>= 10.x', true],
      ['20.19.0', '>=16 || 14 >=14.17', true],
      ['20.19.0', '>=18 <20', false],
      ['20.19.0', '*', true],
    ];
    for (const [version, range, isIn] of ranges) expect(isInRange(version, range), `${version} in ${range}`).toBe(isIn);
  });

  it('has a checksum for every package, or a reason why not', () => {
    const without = entries.filter(([, { integrity }]) => integrity === undefined).map(([path]) => path);
    expect(without.filter((path) => !(path in WITHOUT_INTEGRITY))).toEqual([]);
    expect(Object.keys(WITHOUT_INTEGRITY).filter((path) => !without.includes(path))).toEqual([]);
  });
});

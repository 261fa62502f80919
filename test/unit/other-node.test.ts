import { describe, expect, it } from 'vitest';
import { findNode, OTHER_NODE_VERSION } from '../../scripts/lib/other-node.ts';
import { readFiles } from '../support/source-files.ts';

const wanted = { version: '99.0.0', platform: 'linux-x64', cacheDir: '/nowhere' };
const say = (): void => {};

describe('the second Node that tests run on', () => {
  it('is refused in one clear line when it is another version, or no program', async () => {
    const found = findNode({ ...wanted, binary: process.execPath }, say);
    await expect(found).rejects.toThrow(
      `is Node ${process.versions.node}, not 99: name another one in OTHER_NODE_BINARY`,
    );
    await expect(findNode({ ...wanted, binary: '/no/such/node' }, say)).rejects.toThrow(
      'does not run: no such program',
    );
  });

  it('is missing in one clear line on a platform that has no package', async () => {
    const found = findNode({ ...wanted, platform: 'sunos-x64' }, say);
    await expect(found).rejects.toThrow(
      /is not to be had: there is no package with it for sunos-x64\. .*OTHER_NODE_BINARY/,
    );
  });

  it('is of the major version that the image has', () => {
    const dockerfile = readFiles().find(({ path }) => path === 'Dockerfile');
    const [, major] = /^FROM node:(\d+)/m.exec(dockerfile?.text ?? '') ?? [];
    expect(OTHER_NODE_VERSION.split('.')[0]).toBe(major);
  });
});

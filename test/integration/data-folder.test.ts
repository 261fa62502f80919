/** A data folder is emptied only when no server runs on it any more. */
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { removeDataFolder } from '../../packages/dev-services/src/services.ts';

describe('removeDataFolder', () => {
  it('waits for a server that is about to end, and then takes everything away', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tallystick-data-'));
    const ending = createServer().listen(0, '127.0.0.1');
    await once(ending, 'listening');
    const { port } = ending.address() as AddressInfo;
    try {
      const dataDir = join(folder, 'dev');
      await mkdir(join(dataDir, 'mongodb', 'node-0'), { recursive: true });
      await writeFile(join(dataDir, 'mongodb', 'ports.json'), JSON.stringify([port]));
      const removed = removeDataFolder(dataDir);
      expect(await Promise.race([removed, new Promise((resolve) => setTimeout(resolve, 50, 'waits'))])).toBe('waits');
      expect(await readdir(dataDir)).toEqual(['mongodb']);
      ending.close();
      await removed;
      expect(await readdir(folder)).toEqual([]);
      await removeDataFolder(dataDir);
    } finally {
      ending.close();
      await rm(folder, { recursive: true, force: true });
    }
  });
});

import { loadConfig } from '../../../src/config.ts';
import { startDaemon } from '../../../src/daemon.ts';
import { startBareServer } from './bare.ts';
import type { Roles } from '../child.ts';
import { startBenchSimulator } from './simulator-role.ts';
import { startSubmitter } from './submitter-role.ts';
import { startWatchedDaemon } from './watched-role.ts';
import { type LoadOrder, runLoad } from './load.ts';

/** The child processes of a benchmark. */
export const roles: Roles = {
  daemon: async () => {
    const daemon = await startDaemon(loadConfig());
    return { ready: { url: `${daemon.url}/v1/events` }, stop: () => daemon.stop() };
  },
  watched: startWatchedDaemon,
  bare: () => startBareServer(process.env),
  simulator: startBenchSimulator,
  submitter: startSubmitter,
  load: () => Promise.resolve({ ready: null, answer: (order) => runLoad(order as LoadOrder) }),
};

import { monitorEventLoopDelay } from 'node:perf_hooks';
import { loadConfig } from '../../../src/config.ts';
import { startDaemon } from '../../../src/daemon.ts';
import type { RoleWork } from '../child.ts';

/** How often the delay is looked at; what is told is what lies above it. */
const RESOLUTION_MS = 5;
const NS_PER_MS = 1e6;

/** How long the event loop was held up since it was asked last. */
export interface LoopDelay {
  readonly p99Ms: number;
  readonly longestMs: number;
}

/** The daemon, watched from inside: it tells how long its event loop stood. */
export async function startWatchedDaemon(): Promise<RoleWork> {
  const daemon = await startDaemon(loadConfig());
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  return {
    ready: { url: daemon.url },
    answer: () => {
      const above = (ns: number): number => Math.max(0, ns / NS_PER_MS - RESOLUTION_MS);
      const told: LoopDelay = { p99Ms: above(histogram.percentile(99)), longestMs: above(histogram.max) };
      histogram.reset();
      return Promise.resolve(told);
    },
    stop: () => daemon.stop(),
  };
}

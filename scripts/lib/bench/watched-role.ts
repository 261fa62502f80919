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
  /**
   * The most that the process computed between two looks at the event loop. On a machine that others use as well the
   * event loop also stands while the process gets no processor; this is what it did itself.
   */
  readonly longestWorkMs: number;
}

/** The longest stretch of work between two turns of the event loop, in CPU time of the whole process. */
class LongestWork {
  #longestUs = 0;
  #last = process.cpuUsage();
  #lastAtMs = performance.now();

  start(): void {
    setInterval(() => {
      const used = process.cpuUsage(this.#last);
      const nowMs = performance.now();
      // Threads of the process may have worked at the same time: no more than the time that went by is of one.
      const workUs = Math.min(used.user + used.system, (nowMs - this.#lastAtMs) * 1_000);
      this.#longestUs = Math.max(this.#longestUs, workUs);
      this.#last = process.cpuUsage();
      this.#lastAtMs = nowMs;
    }, RESOLUTION_MS).unref();
  }

  takeMs(): number {
    const longestMs = this.#longestUs / 1_000;
    this.#longestUs = 0;
    return longestMs;
  }
}

/** The daemon, watched from inside: it tells how long its event loop stood. */
export async function startWatchedDaemon(): Promise<RoleWork> {
  const daemon = await startDaemon(loadConfig());
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  const work = new LongestWork();
  work.start();
  return {
    ready: { url: daemon.url },
    answer: () => {
      const above = (ns: number): number => Math.max(0, ns / NS_PER_MS - RESOLUTION_MS);
      const told: LoopDelay = {
        p99Ms: above(histogram.percentile(99)),
        longestMs: above(histogram.max),
        longestWorkMs: work.takeMs(),
      };
      histogram.reset();
      return Promise.resolve(told);
    },
    stop: () => daemon.stop(),
  };
}

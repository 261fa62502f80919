import { onBoundary } from '../../../src/platform/boundary.ts';
import { loadConfig } from '../../../src/config.ts';
import { startDaemon } from '../../../src/daemon.ts';

/** What the parent asks of the daemon's process. */
export type Order =
  /** End as `kill -9` does at the `skip + 1`st visit to a boundary. */
  | { readonly kind: 'crash'; readonly at: string; readonly skip: number }
  /** Stay at the next visit to a boundary until `release`. */
  | { readonly kind: 'hold'; readonly at: string }
  | { readonly kind: 'release' };

/** What the daemon's process tells: where it listens, that an order was taken, that a boundary holds it. */
export type Report = { readonly url: string } | { readonly taken: Order['kind'] } | { readonly held: string };

/** Runs the daemon of this process's environment under the parent's orders; it ends with the parent. */
export async function runCrashingDaemon(): Promise<void> {
  let crash: { at: string; skip: number } | undefined;
  let hold: string | undefined;
  let release = (): void => {};
  onBoundary((name) => {
    if (crash?.at === name) {
      if (crash.skip === 0) process.kill(process.pid, 'SIGKILL');
      crash.skip -= 1;
    }
    if (hold !== name) return undefined;
    hold = undefined;
    tell({ held: name });
    return new Promise((resolve) => {
      release = resolve;
    });
  });
  process.on('message', (order: Order) => {
    if (order.kind === 'crash') crash = { at: order.at, skip: order.skip };
    else if (order.kind === 'hold') hold = order.at;
    else release();
    tell({ taken: order.kind });
  });
  process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
  const { url } = await startDaemon(loadConfig());
  tell({ url });
}

function tell(report: Report): void {
  process.send?.(report);
}

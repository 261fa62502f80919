import closeWithGrace from 'close-with-grace';
import { loadConfig } from './config.ts';
import { startDaemon } from './daemon.ts';

/** Runs the daemon of this process's environment until a signal stops it. */
export async function main(): Promise<void> {
  const config = loadConfig();
  const daemon = await startDaemon(config);
  closeWithGrace({ delay: config.stopTimeoutMs, logger: false }, () => daemon.stop());
}

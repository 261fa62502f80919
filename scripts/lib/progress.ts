/** Progress of long work, on standard error: a bar on a terminal, a line every few seconds in a log. */
export interface Progress {
  /** `done` of the total given at the start; `note` follows the bar. */
  update(done: number, note?: string): void;
  /** Removes the bar, so that what is written next stands alone. */
  clear(): void;
}

export interface ProgressOptions {
  readonly label: string;
  readonly total: number;
  /** Default: standard error. */
  readonly stream?: Pick<NodeJS.WriteStream, 'write'> & { readonly isTTY?: boolean };
}

const BAR_WIDTH = 28;
const TERMINAL_MS = 100;
const LOG_MS = 5_000;

/** For `--quiet`: says nothing. */
export const silentProgress: Progress = { update: () => {}, clear: () => {} };

export function startProgress({ label, total, stream = process.stderr }: ProgressOptions): Progress {
  const startedAt = performance.now();
  const isTerminal = stream.isTTY === true;
  let shownAt = isTerminal ? Number.NEGATIVE_INFINITY : startedAt;
  let isShown = false;
  return {
    update: (done, note = '') => {
      const now = performance.now();
      if (now - shownAt < (isTerminal ? TERMINAL_MS : LOG_MS)) return;
      shownAt = now;
      const text = `${label} ${renderBar(done, total)} ${note}`.trimEnd();
      stream.write(isTerminal ? `\r\u001b[2K${text}` : `${text}\n`);
      isShown = isTerminal;
    },
    clear: () => {
      if (isShown) stream.write('\r\u001b[2K');
      isShown = false;
    },
  };
}

/** `[#####-----]  50 %`; a total of zero counts as done. */
export function renderBar(done: number, total: number): string {
  const share = total <= 0 ? 1 : Math.min(1, Math.max(0, done / total));
  const full = Math.round(share * BAR_WIDTH);
  return `[${'#'.repeat(full)}${'-'.repeat(BAR_WIDTH - full)}] ${String(Math.floor(share * 100)).padStart(3)} %`;
}

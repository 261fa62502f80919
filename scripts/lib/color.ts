/** Colours for a terminal: never in a pipe, and never with NO_COLOR (https://no-color.org). */
export interface Paint {
  good(text: string): string;
  bad(text: string): string;
  faint(text: string): string;
  strong(text: string): string;
}

const CODES = { good: '32', bad: '31', faint: '2', strong: '1' } as const;

export function createPaint(stream: { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv): Paint {
  const isColoured = stream.isTTY === true && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
  const paint = (code: string) => (text: string) => (isColoured ? `\u001b[${code}m${text}\u001b[0m` : text);
  return { good: paint(CODES.good), bad: paint(CODES.bad), faint: paint(CODES.faint), strong: paint(CODES.strong) };
}

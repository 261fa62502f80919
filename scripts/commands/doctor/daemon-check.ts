import { EXIT } from '../../lib/exit-codes.ts';
import type { CheckContext, Problem } from './check.ts';

const ANSWER_MS_MAX = 3_000;

/**
 * The daemon answers. That nothing listens is a problem only where a daemon must run: asked for by name (as the
 * container does with `doctor health`), or TALLYSTICK_URL is set.
 */
export async function checkDaemon({ config, isAskedFor }: CheckContext): Promise<Problem[]> {
  const named = process.env['TALLYSTICK_URL'] || undefined;
  const roles: readonly string[] = config.roles;
  if (named === undefined && (!roles.includes('http') || config.port === 0)) return [];
  const url = (named ?? `http://${reachable(config.host)}:${config.port}`).replace(/\/+$/, '');
  try {
    const response = await fetch(`${url}/livez`, { signal: AbortSignal.timeout(ANSWER_MS_MAX) });
    if (response.ok) return [];
    return [problem(`the daemon at ${url} answers /livez with ${response.status}`)];
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const isRefused = (cause as { code?: string }).code === 'ECONNREFUSED';
    if (isRefused && named === undefined && !isAskedFor) return [];
    return [problem(`the daemon does not answer at ${url}${isRefused ? ': nothing listens there' : ''}`)];
  }
}

function problem(what: string): Problem {
  return { what, todo: 'start it with `tallystick start`, or look at its log', exitCode: EXIT.dependencyDown };
}

/** An address to connect to, from one to listen on. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}

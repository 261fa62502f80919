import { EXIT } from '../../lib/exit-codes.ts';
import type { CheckContext, Problem } from './check.ts';

const ANSWER_MS_MAX = 3_000;

/** What the daemon's own check of a dependency says; another process may well reach what it does not. */
const FOUND: Readonly<Record<string, string>> = {
  away: 'does not answer it',
  refuses_writes: 'refuses its writes',
};

/**
 * The daemon answers, and reaches what it works with over its own connections. That nothing listens is a problem only where a daemon must run: asked for by name (as the
 * container does with `doctor health`), or TALLYSTICK_URL is set.
 */
export async function checkDaemon({ config, isAskedFor }: CheckContext): Promise<Problem[]> {
  const named = process.env['TALLYSTICK_URL'] || undefined;
  const roles: readonly string[] = config.roles;
  if (named === undefined && (!roles.includes('http') || config.port === 0)) return [];
  const url = (named ?? `http://${reachable(config.host)}:${config.port}`).replace(/\/+$/, '');
  try {
    const response = await fetch(`${url}/livez`, { signal: AbortSignal.timeout(ANSWER_MS_MAX) });
    if (response.ok) return await readinessProblems(url);
    return [problem(`the daemon at ${url} answers /livez with ${response.status}`)];
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const isRefused = (cause as { code?: string }).code === 'ECONNREFUSED';
    if (isRefused && named === undefined && !isAskedFor) return [];
    return [problem(`the daemon does not answer at ${url}${isRefused ? ': nothing listens there' : ''}`)];
  }
}

interface Readiness {
  readonly checks?: Readonly<Record<string, string>>;
  readonly reasons?: Readonly<Record<string, string>>;
}

/** Work that is late has a check of its own. */
async function readinessProblems(url: string): Promise<Problem[]> {
  const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(ANSWER_MS_MAX) });
  const { checks = {}, reasons = {} } = (await response.json()) as Readiness;
  return Object.entries(checks).flatMap(([name, state]) => {
    const found = FOUND[state];
    if (found === undefined) return [];
    const reason = reasons[name] === undefined ? '' : ` (${reasons[name]})`;
    const what = `the daemon at ${url} says that ${name} ${found}${reason}`;
    const todo = `look whether ${name} is well and reached from where the daemon runs; it tries again by itself`;
    return [{ what, todo, exitCode: EXIT.dependencyDown }];
  });
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

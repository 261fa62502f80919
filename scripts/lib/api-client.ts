import { CommandError, interrupted } from './command-error.ts';
import { EXIT, type ExitCode } from './exit-codes.ts';

export interface ApiSettings {
  readonly url: string;
  readonly apiKey: string;
  /** Aborts requests when the person interrupts the command. */
  readonly signal?: AbortSignal | undefined;
}

/** One request. `body` is sent as JSON, or as it is when it is a text with a media type. */
export interface ApiRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: unknown;
  readonly mediaType?: string;
}

export interface ApiAnswer {
  readonly status: number;
  readonly body: unknown;
  /** What `Retry-After` asks for. */
  readonly retryAfterMs: number | undefined;
}

/** A list as every route of the daemon gives it. */
interface Page<T> {
  readonly data: readonly T[];
  readonly nextCursor?: string | null;
  readonly hasMore: boolean;
}

/** RFC 9457. */
interface Problem {
  readonly title?: string;
  readonly detail?: string;
  readonly code?: string;
  readonly requestId?: string;
  readonly errors?: readonly { pointer?: string; detail?: string }[];
}

/** The daemon answered with an error. */
export class ApiError extends CommandError {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly code: string | undefined;

  constructor(what: string, answer: ApiAnswer) {
    const problem = (typeof answer.body === 'object' && answer.body !== null ? answer.body : {}) as Problem;
    super({ what, why: reasonOf(answer.status, problem), ...adviceFor(answer.status, problem) });
    this.status = answer.status;
    this.code = problem.code;
  }
}

const REQUEST_MS_MAX = 120_000;

/** The daemon's HTTP interface, as the command line uses it. */
export class ApiClient {
  readonly url: string;
  readonly #apiKey: string;
  readonly #signal: AbortSignal | undefined;

  constructor({ url, apiKey, signal }: ApiSettings) {
    this.url = url.replace(/\/+$/, '');
    this.#apiKey = apiKey;
    this.#signal = signal;
  }

  /** The answer's body. @throws ApiError unless the status is 2xx; CommandError when there is no answer. */
  async call<T>(request: ApiRequest): Promise<T> {
    const answer = await this.send(request);
    if (answer.status >= 200 && answer.status < 300) return answer.body as T;
    throw new ApiError(`${request.method} ${request.path} was refused`, answer);
  }

  get<T>(path: string, query: NonNullable<ApiRequest['query']> = {}): Promise<T> {
    return this.call<T>({ method: 'GET', path, query });
  }

  /** Every row of a list, page by page. */
  async *list<T>(path: string, query: NonNullable<ApiRequest['query']> = {}): AsyncGenerator<T> {
    let cursor: string | undefined;
    for (;;) {
      const page = await this.get<Page<T>>(path, { ...query, cursor });
      yield* page.data;
      if (!page.hasMore || page.nextCursor === undefined || page.nextCursor === null) return;
      cursor = page.nextCursor;
    }
  }

  /** The answer, whatever its status. @throws CommandError `dependency down` when there is none. */
  async send({ method, path, query = {}, body, mediaType }: ApiRequest): Promise<ApiAnswer> {
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) if (value !== undefined) parameters.set(name, String(value));
    const url = `${this.url}${path}${parameters.size > 0 ? `?${parameters.toString()}` : ''}`;
    const timeout = AbortSignal.timeout(REQUEST_MS_MAX);
    try {
      const response = await fetch(url, {
        method,
        headers: {
          authorization: `Bearer ${this.#apiKey}`,
          accept: 'application/json',
          ...(body !== undefined && { 'content-type': mediaType ?? 'application/json' }),
        },
        ...(body !== undefined && { body: mediaType === undefined ? JSON.stringify(body) : (body as string) }),
        signal: this.#signal === undefined ? timeout : AbortSignal.any([this.#signal, timeout]),
      });
      const text = await response.text();
      return { status: response.status, body: parse(text), retryAfterMs: retryAfterOf(response) };
    } catch (error) {
      if (this.#signal?.aborted === true) throw interrupted();
      throw unreachable(this.url, error);
    }
  }
}

function parse(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    return text;
  }
}

function retryAfterOf(response: Response): number | undefined {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined;
}

function unreachable(url: string, error: unknown): CommandError {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = (cause as { code?: string }).code;
  return new CommandError({
    what: `no answer from the daemon at ${url}`,
    why: code ?? (cause instanceof Error ? cause.message : String(cause)),
    todo: 'Start it with `tallystick start`, or name another address with --url or TALLYSTICK_URL.',
    exitCode: EXIT.dependencyDown,
    cause: error,
  });
}

function reasonOf(status: number, problem: Problem): string {
  const summary = problem.detail ?? problem.title ?? 'no reason given';
  // A summary that says what is wrong is not followed by the same again.
  const faults = (problem.errors ?? [])
    .filter(({ detail }) => detail === undefined || !summary.includes(detail))
    .map(({ pointer, detail }) => [pointer, detail].filter(Boolean).join(' '));
  return [`${status} ${problem.code ?? ''}`.trim(), summary, ...faults].join(': ');
}

function adviceFor(status: number, problem: Problem): { todo?: string; exitCode: ExitCode } {
  if (status === 401) {
    return { todo: 'Give a valid key with --api-key or TALLYSTICK_API_KEY.', exitCode: EXIT.configuration };
  }
  if (status === 403) {
    return { todo: 'Use a key with the scope that this needs (`tallystick keys list`).', exitCode: EXIT.configuration };
  }
  if (status === 429) return { todo: 'Wait a moment and run it again.', exitCode: EXIT.failure };
  if (status === 503) return { todo: '`tallystick doctor` names what is down.', exitCode: EXIT.dependencyDown };
  if (status >= 500) {
    const id = problem.requestId === undefined ? '' : ` for request ${problem.requestId}`;
    return { todo: `Look at the daemon's log${id}.`, exitCode: EXIT.failure };
  }
  return {
    ...(problem.code !== undefined && { todo: `docs/errors.md explains ${problem.code}.` }),
    exitCode: EXIT.failure,
  };
}

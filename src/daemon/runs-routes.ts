import { type Static, Type } from 'typebox';
import { JOB_INPUTS, JOB_NAMES, type JobInput, type JobName, readJobInput, readJobName } from './job-input.ts';
import { DaemonError } from '../platform/errors.ts';
import { faultsOf } from '../platform/schema-fault.ts';
import { problemResponse, requestInvalid } from '../platform/http/problem.ts';
import { type App, needs } from '../platform/http/route.ts';
import { Instant } from '../platform/http/fields.ts';

/** A run as it is stored. */
export interface StoredRun {
  readonly _id: string;
  readonly job: string;
  readonly trigger: string;
  readonly state: 'queued' | 'running' | 'succeeded' | 'failed';
  readonly input: Record<string, unknown>;
  readonly queuedAt: Date;
  readonly startedAt?: Date;
  readonly endedAt?: Date;
  readonly progress?: { readonly done: number; readonly total: number };
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly code: string; readonly message: string };
}

export interface RunRoutesDeps {
  /** Stores a requested run and rings for it; returns its id. */
  requestRun<Name extends JobName>(job: Name, input: JobInput<Name>): Promise<string>;
  findRun(id: string): Promise<StoredRun | null>;
  /** The run of a job that is at work, which every later one waits for. */
  findRunAtWork(job: string): Promise<StoredRun | null>;
}

const Progress = Type.Object(
  { done: Type.Integer(), total: Type.Integer() },
  { description: 'How far long work has come.' },
);
const RunReply = Type.Object({
  runId: Type.String(),
  job: Type.String(),
  trigger: Type.String(),
  state: Type.Unsafe<StoredRun['state']>({ type: 'string', enum: ['queued', 'running', 'succeeded', 'failed'] }),
  input: Type.Record(Type.String(), Type.Unknown()),
  queuedAt: Instant,
  startedAt: Type.Optional(Instant),
  endedAt: Type.Optional(Instant),
  progress: Type.Optional(Progress),
  waitsFor: Type.Optional(
    Type.Object(
      { runId: Type.String(), startedAt: Type.Optional(Instant), progress: Type.Optional(Progress) },
      { description: 'While it is queued: the run of the same job that is at work.' },
    ),
  ),
  result: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  error: Type.Optional(Type.Object({ code: Type.String(), message: Type.String() })),
});

/** Documents; the domain checks, so that each fault is told in the words of the job that was meant. */
const RunBody = Type.Union(
  JOB_NAMES.map((job) =>
    Type.Object({ job: Type.Literal(job), input: Type.Optional(JOB_INPUTS[job]) }, { additionalProperties: false }),
  ),
  { description: 'The name of a job, and what it takes. A field that the job does not know is refused.' },
);
const RequestFields = Type.Object(
  { job: Type.String({ maxLength: 100 }), input: Type.Optional(Type.Unknown()) },
  { additionalProperties: false },
);
const Requested = Type.Object({ runId: Type.String() });
const Path = Type.Object({ runId: Type.String({ maxLength: 100 }) });

/** `/v1/runs`: run a job now, and what came of it. */
export function registerRuns(app: App, deps: RunRoutesDeps): void {
  app.post(
    '/v1/runs',
    {
      schema: {
        security: needs('admin'),
        operationId: 'requestRun',
        summary:
          'Run a job now. It begins when a worker is free; ask for its state by the id that is returned. What passes by ' +
          'itself (a 500 of Stripe, a store that is away) is tried again for half a minute before the run fails.',
        tags: ['runs'],
        body: RunBody,
        response: { 202: Requested, default: problemResponse },
      },
      validatorCompiler: () => () => true,
    },
    async (request, reply) => {
      const { job, input } = readRequest(request.body);
      return reply.code(202).send({ runId: await deps.requestRun(job, input) });
    },
  );
  app.get(
    '/v1/runs/:runId',
    {
      schema: {
        security: needs('admin'),
        operationId: 'getRun',
        summary: 'State, result or error of a run.',
        tags: ['runs'],
        params: Path,
        response: { 200: RunReply, default: problemResponse },
      },
    },
    async (request) => {
      const run = await deps.findRun(request.params.runId);
      if (run === null) {
        throw new DaemonError({ kind: 'not-found', code: 'run_not_found', message: 'No run has this id.' });
      }
      const ahead = run.state === 'queued' ? await deps.findRunAtWork(run.job) : null;
      return { ...toReply(run), ...(ahead !== null && { waitsFor: toWaitedFor(ahead) }) };
    },
  );
}

/** Everything that can be known before a run is stored is checked here: a 202 is not followed by a refusal. */
function readRequest(body: unknown): { job: JobName; input: JobInput<JobName> } {
  const errors = faultsOf(RequestFields, body);
  if (errors.length > 0) throw requestInvalid(errors);
  const { job: name, input = {} } = body as Static<typeof RequestFields>;
  const job = readJobName(name);
  return { job, input: readJobInput(job, input) };
}

function toWaitedFor({ _id, startedAt, progress }: StoredRun): NonNullable<Static<typeof RunReply>['waitsFor']> {
  return { runId: _id, ...(startedAt && { startedAt: startedAt.toISOString() }), ...(progress && { progress }) };
}

function toReply(run: StoredRun): Static<typeof RunReply> {
  const { _id, job, trigger, state, input, queuedAt, startedAt, endedAt, progress, result, error } = run;
  return {
    runId: _id,
    job,
    trigger,
    state,
    input,
    queuedAt: queuedAt.toISOString(),
    ...(startedAt && { startedAt: startedAt.toISOString() }),
    ...(endedAt && { endedAt: endedAt.toISOString() }),
    ...(progress && { progress }),
    ...(result && { result: JSON.parse(JSON.stringify(result)) as Record<string, unknown> }),
    ...(error && { error }),
  };
}

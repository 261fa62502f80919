/**
 * What each job takes: the one place that says so. `POST /v1/runs` checks it before it answers 202, the worker before it
 * runs, and the OpenAPI document and the command line are made of it.
 */
import { type Static, type TSchema, Type } from 'typebox';
import { DaemonError } from '../platform/errors.ts';
import { meantHint } from '../platform/nearest-name.ts';
import { shownName } from '../platform/json-pointer.ts';
import { faultsOf, type SchemaFault } from '../platform/schema-fault.ts';
import { parseStatedInstant, parseStatedPeriod } from '../aggregation/stated-period.ts';

const closed = { additionalProperties: false };
const none = Type.Object({}, closed);
const dryRun = Type.Optional(Type.Boolean({ description: 'true shows what would be done and changes nothing.' }));
const customerId = Type.Optional(
  Type.String({ minLength: 1, maxLength: 255, description: 'One customer; all of them without it.' }),
);
const instant = (description: string) =>
  Type.Optional(Type.String({ minLength: 1, maxLength: 64, description, examples: ['2026-11-01T00:00:00Z'] }));

/** The input of each job by its name. Nothing that is not listed is taken. */
export const JOB_INPUTS = {
  'aggregate-usage': Type.Object({ dryRun }, closed),
  'requeue-usage': none,
  'submit-meter-events': Type.Object(
    {
      customerId,
      flush: Type.Optional(Type.Boolean({ description: 'true waits for no time: everything planned goes out now.' })),
      dryRun,
    },
    closed,
  ),
  'resolve-submissions': none,
  'settle-late-usage': none,
  'sync-meters': Type.Object({ dryRun }, closed),
  'reconcile-usage': Type.Object(
    {
      from: instant('Compares periods from this instant on (RFC 3339, or a day).'),
      to: instant('Compares periods before this instant (RFC 3339, or a day).'),
      customerId,
      fresh: Type.Optional(
        Type.Boolean({
          description: 'true reads every total anew, within the budget of reads, and remembers no match.',
        }),
      ),
      dryRun,
      apply: Type.Optional(
        Type.Boolean({ deprecated: true, description: 'false is `dryRun: true`. true is how a run goes without it.' }),
      ),
    },
    closed,
  ),
  'verify-usage': Type.Object(
    {
      period: instant('A month like 2026-11, or from..to; instead of `from` and `to`.'),
      from: instant('With `to`.'),
      to: instant('With `from`.'),
      customerId,
    },
    closed,
  ),
  'guard-invoices': none,
  'process-webhooks': none,
  'catch-up-events': none,
  'find-unbilled-usage': none,
  'settle-mapped-ids': none,
} satisfies Record<string, TSchema>;

export type JobName = keyof typeof JOB_INPUTS;
export type JobInput<Name extends JobName> = Static<(typeof JOB_INPUTS)[Name]>;

export const JOB_NAMES = Object.keys(JOB_INPUTS) as readonly JobName[];

/** What a schema cannot say: instants that exist, and fields that exclude each other. */
const FURTHER_RULES: { readonly [Name in JobName]?: (input: JobInput<Name>) => SchemaFault | undefined } = {
  'reconcile-usage': (input) => rangeFault(input) ?? dryRunFault(input),
  'verify-usage': (input) => statedPeriodFault(input),
};

/**
 * The name of a job.
 * @throws DaemonError `job_unknown` with the names there are.
 */
export function readJobName(job: string): JobName {
  const found = JOB_NAMES.find((name) => name === job);
  if (found !== undefined) return found;
  throw new DaemonError({
    kind: 'invalid',
    code: 'job_unknown',
    message: `There is no job "${shownName(job)}".${meantHint(job, JOB_NAMES)} There are ${JOB_NAMES.join(', ')}.`,
    context: { pointer: '/job' },
  });
}

/**
 * The input of a job, checked against everything that can be known before it runs.
 * @throws DaemonError `input_invalid` with a fault for each field: its pointer, and what it may be.
 */
export function readJobInput<Name extends JobName>(job: Name, input: unknown): JobInput<Name> {
  const schema = JOB_INPUTS[job];
  const faults = faultsOf(schema, input);
  if (faults.length > 0) throw invalidInput(job, faults);
  const checked = input as JobInput<Name>;
  const fault = FURTHER_RULES[job]?.(checked);
  if (fault !== undefined) throw invalidInput(job, [fault]);
  return checked;
}

function invalidInput(job: JobName, faults: readonly SchemaFault[]): DaemonError {
  const errors = faults.map(({ pointer, detail }) => ({ pointer: `/input${pointer}`, detail }));
  const [first] = errors;
  return new DaemonError({
    kind: 'invalid',
    code: 'input_invalid',
    message: `The job ${job} does not take this input: ${first?.pointer ?? '/input'} ${first?.detail ?? ''}`,
    context: { errors },
  });
}

function rangeFault({ from, to }: { from?: string; to?: string }): SchemaFault | undefined {
  const bounds = { from, to };
  for (const name of ['from', 'to'] as const) {
    const text = bounds[name];
    if (text === undefined || parseStatedInstant(text) !== undefined) continue;
    return { pointer: `/${name}`, detail: 'must be a day, or an RFC 3339 instant with an offset.' };
  }
  if (from === undefined || to === undefined) return undefined;
  const isForward = (parseStatedInstant(from) ?? 0) < (parseStatedInstant(to) ?? 0);
  return isForward ? undefined : { pointer: '/to', detail: 'must lie after from.' };
}

function dryRunFault(input: JobInput<'reconcile-usage'>): SchemaFault | undefined {
  if (input.dryRun === undefined || input.apply !== input.dryRun) return undefined;
  return { pointer: '/apply', detail: 'contradicts dryRun. Give dryRun alone.' };
}

function statedPeriodFault({ period, from, to }: JobInput<'verify-usage'>): SchemaFault | undefined {
  if (period !== undefined && (from !== undefined || to !== undefined)) {
    return { pointer: '/period', detail: 'excludes from and to.' };
  }
  if (period === undefined && (from === undefined || to === undefined)) {
    return { pointer: '/period', detail: 'is required: a month like 2026-11, or from..to (or give from and to).' };
  }
  try {
    parseStatedPeriod(period ?? `${from}..${to}`);
    return undefined;
  } catch (error) {
    if (!(error instanceof DaemonError)) throw error;
    return { pointer: period === undefined ? '/from' : '/period', detail: error.message };
  }
}

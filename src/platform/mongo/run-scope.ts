/**
 * Inputs by which a run is about a part of the work only. Such a run says nothing of the rest: it neither hides that the
 * last run over everything failed, nor counts as one that was due.
 */
const NARROWING: readonly string[] = ['customerId'];
/** The same, for jobs whose bounds are not simply what they are about. */
const NARROWING_OF: Readonly<Record<string, readonly string[]>> = { 'reconcile-usage': ['customerId', 'from', 'to'] };

/** The inputs that narrow a job's work, by name. */
export function narrowingInputs(job: string): readonly string[] {
  return NARROWING_OF[job] ?? NARROWING;
}

/** Whether a run with this input only shows what would be. */
export function isDryRun(input: Readonly<Record<string, unknown>>): boolean {
  return input['dryRun'] === true || input['apply'] === false;
}

/** Whether a run with this input is over everything, and changes what it finds. */
export function isWholeRun(job: string, input: Readonly<Record<string, unknown>>): boolean {
  const isNarrowed = narrowingInputs(job).some((name) => input[name] !== undefined);
  return !isNarrowed && !isDryRun(input);
}

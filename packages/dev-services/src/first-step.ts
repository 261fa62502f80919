/**
 * Several ways to the same thing, tried in order. Each way says what it chose or why it does not work, so that a
 * person who reads the output knows which server runs, and what to install when none does.
 */
import { ServicesError } from './errors.ts';

/** Receives one line for a person. */
export type Say = (line: string) => void;

/** What one step came to: the thing and how it was found, or why there is none. */
export type StepOutcome<T> = { found: T; how: string } | { refused: string };

export interface Step<T> {
  /** What is tried, as a noun phrase. */
  readonly name: string;
  /** A step that throws counts as refused, with the error's message as the reason. */
  attempt(): Promise<StepOutcome<T>>;
}

export interface StepList<T> {
  /** What is looked for, as people call it: `MongoDB`. */
  readonly subject: string;
  /** What a person can do when no step works. */
  readonly advice: string;
  readonly steps: readonly Step<T>[];
}

/**
 * The result of the first step that works.
 * @throws ServicesError `embedded_unavailable` naming every step and its reason when none does.
 */
export async function takeFirstStep<T>(list: StepList<T>, say: Say): Promise<T> {
  const refusals: string[] = [];
  for (const step of list.steps) {
    const outcome = await attemptStep(step);
    if ('found' in outcome) {
      say(`${list.subject}: ${outcome.how}`);
      return outcome.found;
    }
    refusals.push(`${step.name}: ${outcome.refused}`);
    say(`${list.subject}: not from ${step.name} (${outcome.refused})`);
  }
  throw new ServicesError(
    'embedded_unavailable',
    `no ${list.subject} to be had (${refusals.join('; ')}). ${list.advice}`,
  );
}

async function attemptStep<T>(step: Step<T>): Promise<StepOutcome<T>> {
  try {
    return await step.attempt();
  } catch (err) {
    return { refused: err instanceof Error ? (err.message.split('\n')[0] ?? err.name) : String(err) };
  }
}

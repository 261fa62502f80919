import type { Clock } from './clock.ts';
import type { Agenda } from './agenda.ts';
import type { Answer } from './answer.ts';
import type { Fields, Parameters } from './parameters.ts';
import type { SeededRandom } from './random.ts';
import type { Switches } from './switches.ts';

/** What every resource of the simulated account shares. */
export interface Account {
  readonly clock: Clock;
  readonly random: SeededRandom;
  readonly switches: Switches;
  /** What the account does by itself later. */
  readonly agenda: Agenda;
}

/** One call that passed the layers before its endpoint. */
export interface Call {
  /** What stands for `{id}` in the path; empty where the path has none. */
  readonly pathId: string;
  readonly parameters: Parameters;
  readonly idempotencyKey: string | undefined;
}

/** One endpoint. A resource's file gives its routes; `simulated-account.ts` puts them into the table. */
export interface Route {
  /** Method and path as Stripe's reference writes them: `GET /v1/billing/meters/{id}`. */
  readonly name: string;
  readonly parameters: Fields;
  /** What the call must have to itself while it runs; nothing for most routes. */
  lockOf?(call: Call): string | undefined;
  /** The effect and its answer; throws a `Refusal`. Runs without a pause, so that an effect is never half seen. */
  run(call: Call): Answer;
}

/** Unix seconds of the account's clock. */
export function nowSeconds(account: Account): number {
  return Math.floor(account.clock.now() / 1000);
}

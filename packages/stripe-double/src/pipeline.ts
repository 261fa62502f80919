import { setImmediate } from 'node:timers/promises';
import { concurrentConflict, lockTimeout, Refusal, serverError, tooManyRequests } from './answer.ts';
import type { Answer } from './answer.ts';
import { checkApiKey } from './authentication.ts';
import type { FaultKind, Faults } from './faults.ts';
import { parseForm } from './form.ts';
import { fingerprintOf, IdempotencyStore } from './idempotency.ts';
import { checkParameters, Parameters } from './parameters.ts';
import { RateLimit } from './rate-limit.ts';
import type { Call, Route } from './route.ts';
import type { SimulatedAccount } from './simulated-account.ts';

/** A request as it came over the wire. */
export interface WireRequest {
  method: string;
  path: string;
  /** The query of a GET or DELETE, the body of a POST: parameters either way. */
  form: string;
  authorization: string | undefined;
  idempotencyKey: string | undefined;
}

/** `undefined` instead of an answer: the connection is closed without one. */
export interface Outcome {
  answer: Answer | undefined;
  replayed: boolean;
}

/**
 * The layers a call passes, in Stripe's order: authentication and rate limit come before the idempotency layer (so a
 * key is not spent by a 401 or 429), parameter checks and locks inside it but before the execution (so neither are
 * these stored), and whatever the execution answers, 500 included, is stored (Stripe docs, Idempotent requests).
 */
export class Pipeline {
  readonly #state: SimulatedAccount;
  readonly #faults: Faults;
  readonly #stopping: AbortSignal;
  readonly #rateLimit: RateLimit;
  readonly #idempotency: IdempotencyStore;
  readonly #locks = new Set<string>();

  constructor(state: SimulatedAccount, faults: Faults, stopping: AbortSignal) {
    this.#state = state;
    this.#faults = faults;
    this.#stopping = stopping;
    this.#rateLimit = new RateLimit(state.account);
    this.#idempotency = new IdempotencyStore(state.account.clock);
  }

  /** Never throws but for a defect of the simulator itself. */
  async respond(request: WireRequest): Promise<Outcome> {
    try {
      return await this.#passLayers(request);
    } catch (err) {
      if (err instanceof Refusal) return { answer: err.answer, replayed: false };
      throw err;
    }
  }

  async #passLayers(request: WireRequest): Promise<Outcome> {
    checkApiKey(request.authorization);
    const found = this.#state.router.find(request.method, request.path);
    if (found === undefined) throw unrecognised(request);
    if (!this.#rateLimit.take()) throw tooManyRequests();
    const fault = this.#faults.draw(found.route.name);
    if (fault === 'resetBefore') return { answer: undefined, replayed: false };
    if (fault === 'tooManyRequests') throw tooManyRequests();
    if (fault === 'conflict') throw concurrentConflict();
    if (fault === 'errorBefore') throw serverError();
    const outcome = await this.#runOnce(request, found, fault);
    return fault === 'answerLost' ? { answer: undefined, replayed: outcome.replayed } : outcome;
  }

  async #runOnce(
    request: WireRequest,
    found: { route: Route; pathId: string },
    fault: FaultKind | undefined,
  ): Promise<Outcome> {
    const key = request.method === 'POST' ? request.idempotencyKey : undefined;
    if (key !== undefined) {
      const stored = this.#idempotency.begin(key, fingerprintOf(request.method, request.path, request.form));
      if (stored !== undefined) return { answer: stored, replayed: true };
    }
    try {
      const parameters = parseForm(request.form);
      checkParameters(parameters, found.route.parameters);
      const call: Call = {
        pathId: found.pathId,
        parameters: new Parameters(parameters),
        idempotencyKey: request.idempotencyKey,
      };
      const { answer, stored } = await this.#runLocked(found.route, call, fault);
      if (key !== undefined) this.#settleKey(key, stored ? answer : undefined);
      return { answer, replayed: false };
    } catch (err) {
      if (key !== undefined) this.#idempotency.abandon(key);
      throw err;
    }
  }

  #settleKey(key: string, answer: Answer | undefined): void {
    if (answer === undefined) this.#idempotency.abandon(key);
    else this.#idempotency.finish(key, answer);
  }

  async #runLocked(
    route: Route,
    call: Call,
    fault: FaultKind | undefined,
  ): Promise<{ answer: Answer; stored: boolean }> {
    const { concurrency } = this.#state.account.switches;
    const lock = concurrency === 'off' ? undefined : route.lockOf?.(call);
    if (lock !== undefined && this.#locks.has(lock)) {
      throw concurrency === 'conflict' ? concurrentConflict() : lockTimeout();
    }
    if (lock !== undefined) this.#locks.add(lock);
    try {
      await this.#takeTime(fault, lock !== undefined);
      return this.#execute(route, call, fault);
    } finally {
      if (lock !== undefined) this.#locks.delete(lock);
    }
  }

  /** A locked call takes at least one turn of the event loop, so that calls which overlap on the wire do so here. */
  async #takeTime(fault: FaultKind | undefined, locked: boolean): Promise<void> {
    const { clock, switches } = this.#state.account;
    const delayMs = switches.latencyMs + (fault === 'slow' ? switches.slowMs : 0);
    if (delayMs > 0) await clock.sleep(delayMs, this.#stopping);
    else if (locked) await setImmediate();
  }

  #execute(route: Route, call: Call, fault: FaultKind | undefined): { answer: Answer; stored: boolean } {
    if (fault === 'errorDuring') return { answer: serverError().answer, stored: true };
    try {
      const answer = route.run(call);
      return { answer: fault === 'errorAfter' ? serverError().answer : answer, stored: true };
    } catch (err) {
      if (!(err instanceof Refusal)) throw err;
      return { answer: err.answer, stored: this.#state.account.switches.refusalsReplayed };
    }
  }
}

function unrecognised({ method, path }: WireRequest): Refusal {
  return new Refusal(404, {
    type: 'invalid_request_error',
    message: `Unrecognized request URL (${method}: ${path}). Please see https://stripe.com/docs.`,
  });
}

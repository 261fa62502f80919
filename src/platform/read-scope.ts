import { AsyncLocalStorage } from 'node:async_hooks';
import { setMaxListeners } from 'node:events';

/** Whoever waits for a read, and for how long: see platform/mongo/bounded-reads. */
export interface ReadScope {
  /** Aborted when nobody waits any more; its reason is what the reads fail with. */
  readonly signal: AbortSignal;
  /** Milliseconds that are left of the time that the whole of it may take. */
  leftMs(): number;
}

const scopes = new AsyncLocalStorage<ReadScope>();

/** Runs `work` with every read that it makes bound to a scope. What `work` calls back later is bound as well. */
export function inReadScope<T>(scope: ReadScope, work: () => T): T {
  // Every statement in flight listens to it.
  setMaxListeners(0, scope.signal);
  return scopes.run(scope, work);
}

/** The scope of the work under way; undefined in a job, and in a request that writes. */
export function readScope(): ReadScope | undefined {
  return scopes.getStore();
}

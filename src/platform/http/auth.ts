/** Who calls, and whether they may: API keys as bearer tokens, looked up by their hash. */
import { timingSafeEqual } from 'node:crypto';
import type { FastifyRequest, FastifySchema, onRequestHookHandler } from 'fastify';
import type { Clock } from '../clock.ts';
import { API_SCOPES, type ApiKey, apiKeyId, type ApiScope, grantsScope } from '../api-key.ts';
import { assert, DaemonError } from '../errors.ts';
import { type App, API_KEY_SCHEME } from './route.ts';

/** The caller of a request. */
export interface Principal {
  readonly id: string;
  /** What the key is recognised by in the log: its first characters. */
  readonly prefix?: string;
  readonly scopes: readonly ApiScope[];
}

export interface AuthDeps {
  /** The key with this hash. */
  findApiKey(id: string): Promise<(Pick<ApiKey, 'id' | 'scopes' | 'expiresAt' | 'revokedAt'> & Partial<ApiKey>) | null>;
  /** A key with every scope that is stored nowhere. */
  readonly adminApiKey?: string | undefined;
  readonly clock: Pick<Clock, 'now'>;
}

type FoundKey = Awaited<ReturnType<AuthDeps['findApiKey']>>;

/** How long a look-up is believed: a revoked key works this much longer, and a store is asked this seldom. */
const CACHE_MS = 1_000;
/** Look-ups kept; unknown keys count too, so that a flood of them cannot fill the memory. */
const CACHE_ENTRIES_MAX = 10_000;
const BEARER = /^Bearer +([^\s]{1,512})$/i;
const PRINCIPAL = 'principal';
const HASH_SHOWN = 12;

interface CacheEntry {
  readonly key: FoundKey | Promise<FoundKey>;
  readonly until: number;
}

/** Knows API keys, and remembers for a second what it found. Simultaneous look-ups of one key are one. */
export class Authenticator {
  readonly #deps: AuthDeps;
  readonly #adminId: Buffer | undefined;
  readonly #cache = new Map<string, CacheEntry>();

  constructor(deps: AuthDeps) {
    this.#deps = deps;
    this.#adminId = deps.adminApiKey === undefined ? undefined : Buffer.from(apiKeyId(deps.adminApiKey));
  }

  /**
   * The caller with this Authorization header; a promise only when the store has to be asked.
   * @throws DaemonError `forbidden`: `api_key_missing`, `api_key_unknown`, `api_key_revoked`, `api_key_expired`.
   */
  principalOf(header: string | undefined): Principal | Promise<Principal> {
    const key = header === undefined ? undefined : BEARER.exec(header)?.[1];
    if (key === undefined) {
      throw forbidden('api_key_missing', 'Send an API key: "Authorization: Bearer tly_…".');
    }
    const id = apiKeyId(key);
    if (this.#adminId !== undefined && timingSafeEqual(this.#adminId, Buffer.from(id))) {
      return { id: 'admin', prefix: 'ADMIN_API_KEY', scopes: API_SCOPES };
    }
    const found = this.#lookUp(id);
    return found instanceof Promise ? found.then((record) => this.#judge(id, record)) : this.#judge(id, found);
  }

  #lookUp(id: string): FoundKey | Promise<FoundKey> {
    const nowMs = this.#deps.clock.now();
    const cached = this.#cache.get(id);
    if (cached !== undefined && cached.until > nowMs) return cached.key;
    this.#cache.delete(id);
    if (this.#cache.size >= CACHE_ENTRIES_MAX) this.#cache.clear();
    const until = nowMs + CACHE_MS;
    const asked = this.#deps.findApiKey(id).then(
      (key) => {
        this.#cache.set(id, { key, until });
        return key;
      },
      (error: unknown) => {
        this.#cache.delete(id);
        throw error;
      },
    );
    this.#cache.set(id, { key: asked, until });
    return asked;
  }

  #judge(id: string, key: FoundKey): Principal {
    // A part of the hash tells which of our keys it is not, and nothing of what was sent.
    if (key === null) throw forbidden('api_key_unknown', 'There is no such API key.', id.slice(0, HASH_SHOWN));
    const { prefix } = key;
    if (key.revokedAt !== undefined) throw forbidden('api_key_revoked', 'The API key was revoked.', prefix);
    if (key.expiresAt !== undefined && key.expiresAt.getTime() <= this.#deps.clock.now()) {
      throw forbidden('api_key_expired', 'The API key has expired.', prefix);
    }
    return key;
  }
}

/**
 * Makes every route ask for what the `security` of its schema says. A route under /v1 that says nothing is a mistake and
 * stops the start.
 */
export function guardRoutes(app: App, authenticator: Authenticator): void {
  app.decorateRequest(PRINCIPAL, null);
  app.addHook('onRoute', (route) => {
    const security = route.schema?.security;
    if (security === undefined) {
      assert(!route.url.startsWith('/v1'), 'A route does not say who may call it.', { url: route.url });
      return;
    }
    const scope = scopeOf(security);
    if (scope === undefined) return;
    route.onRequest = [toGuard(authenticator, scope), ...[route.onRequest ?? []].flat()];
  });
}

/** The scope that the `security` of a route's schema asks for, if it asks for a key. */
export function scopeOf(security: FastifySchema['security']): ApiScope | undefined {
  return security?.flatMap((scheme) => scheme[API_KEY_SCHEME] ?? [])[0] as ApiScope | undefined;
}

/** A hook that goes on at once unless the store has to be asked. */
function toGuard(authenticator: Authenticator, scope: ApiScope): onRequestHookHandler {
  return (request, _reply, done) => {
    const admit = (principal: Principal): void => {
      request.setDecorator(PRINCIPAL, principal);
      requireScope(principal, scope);
    };
    const principal = authenticator.principalOf(request.headers.authorization);
    if (principal instanceof Promise) {
      void admitLater(principal, admit, done);
      return;
    }
    admit(principal);
    done();
  };
}

async function admitLater(
  principal: Promise<Principal>,
  admit: (principal: Principal) => void,
  done: (error?: Error) => void,
): Promise<void> {
  let refusal: Error | undefined;
  try {
    admit(await principal);
  } catch (error) {
    refusal = error as Error;
  }
  done(refusal);
}

/** The caller of a request to a guarded route. */
export function callerOf(request: FastifyRequest): Principal {
  return request.getDecorator<Principal>(PRINCIPAL);
}

/** The same for any request, also one that never came to a route: undefined where nobody was recognised. */
export function callerIfKnown(request: FastifyRequest): Principal | undefined {
  return (Reflect.get(request, PRINCIPAL) as Principal | null | undefined) ?? undefined;
}

/** @throws DaemonError `scope_missing` */
export function requireScope(principal: Principal, scope: ApiScope): void {
  if (grantsScope(principal.scopes, scope)) return;
  throw forbidden('scope_missing', `The API key lacks the scope ${scope}.`);
}

function forbidden(code: string, message: string, key?: string): DaemonError {
  return new DaemonError({ kind: 'forbidden', code, message, ...(key !== undefined && { context: { key } }) });
}

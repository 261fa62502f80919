import { hash } from 'node:crypto';

/** What a key may do. `admin` includes the others. */
export type ApiScope = 'events:write' | 'usage:read' | 'admin';
export const API_SCOPES: readonly ApiScope[] = ['events:write', 'usage:read', 'admin'];

/** Begins every key, so that scanners for leaked secrets know one. */
export const API_KEY_PREFIX = 'tly_';

/** A key as it is known after its creation: never the key itself. */
export interface ApiKey {
  /** SHA-256 of the key, in hex. */
  readonly id: string;
  readonly name: string;
  /** The first characters of the key, to recognise it by. */
  readonly prefix: string;
  readonly scopes: readonly ApiScope[];
  readonly createdAt: Date;
  /** From this instant on the key is refused. */
  readonly expiresAt?: Date;
  readonly revokedAt?: Date;
}

/** The id under which a key is stored. The key has 256 random bits, so one round of a fast hash is enough. */
export function apiKeyId(key: string): string {
  return hash('sha256', key, 'hex');
}

/** Whether a key with these scopes may do what needs `needed`. */
export function grantsScope(scopes: readonly ApiScope[], needed: ApiScope): boolean {
  return scopes.includes(needed) || scopes.includes('admin');
}

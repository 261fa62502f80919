import { randomBytes } from 'node:crypto';
import type { Collection, Db } from 'mongodb';
import { API_KEY_PREFIX, type ApiKey, apiKeyId, type ApiScope } from '../api-key.ts';
import { translated } from './errors.ts';

/** An API key; the key itself is stored nowhere. */
export interface ApiKeyDocument {
  /** SHA-256 of the key, in hex. */
  _id: string;
  name: string;
  prefix: string;
  scopes: ApiScope[];
  createdAt: Date;
  expiresAt?: Date;
  revokedAt?: Date;
  /** The key that takes its place, after a rotation. */
  replacedBy?: string;
}

export const API_KEYS = 'api_keys';
const KEY_BYTES = 32;
/** Characters of a key that are stored to recognise it by; 224 bits stay unknown. */
const SHOWN_LENGTH = API_KEY_PREFIX.length + 5;

export interface NewApiKey {
  readonly name: string;
  readonly scopes: readonly ApiScope[];
  readonly expiresAt?: Date;
}

/** A key at its creation: the only time that it is known. */
export interface CreatedApiKey {
  readonly key: string;
  readonly record: ApiKey;
}

export class ApiKeys {
  readonly #collection: Collection<ApiKeyDocument>;

  constructor(db: Db) {
    this.#collection = db.collection<ApiKeyDocument>(API_KEYS);
  }

  async create(input: NewApiKey, at: Date): Promise<CreatedApiKey> {
    const key = `${API_KEY_PREFIX}${randomBytes(KEY_BYTES).toString('base64url')}`;
    const document: ApiKeyDocument = {
      _id: apiKeyId(key),
      name: input.name,
      prefix: key.slice(0, SHOWN_LENGTH),
      scopes: [...input.scopes],
      createdAt: at,
      ...(input.expiresAt !== undefined && { expiresAt: input.expiresAt }),
    };
    await translated(this.#collection.insertOne(document));
    return { key, record: toApiKey(document) };
  }

  /** By id, which is the hash of a key (`apiKeyId`). */
  async find(id: string): Promise<ApiKey | null> {
    const document = await translated(this.#collection.findOne({ _id: id }));
    return document === null ? null : toApiKey(document);
  }

  /** All keys, oldest first. */
  async list(): Promise<ApiKey[]> {
    const documents = await translated(this.#collection.find({}).sort({ createdAt: 1, _id: 1 }).toArray());
    return documents.map(toApiKey);
  }

  /** Refuses the key from now on; returns whether it was there. A first revocation keeps its time. */
  async revoke(id: string, at: Date): Promise<boolean> {
    const { matchedCount } = await translated(
      this.#collection.updateOne({ _id: id }, [{ $set: { revokedAt: { $ifNull: ['$revokedAt', at] } } }]),
    );
    return matchedCount === 1;
  }

  /**
   * Makes a key with the same name and scopes, until `expiresAt` if that is given. The old one is taken for `overlapMs` more, and never longer than before.
   * @returns undefined when there is no such key, or it is revoked, expired or rotated already.
   */
  async rotate(
    id: string,
    options: { overlapMs: number; at: Date; expiresAt?: Date },
  ): Promise<CreatedApiKey | undefined> {
    const old = await translated(this.#collection.findOne({ _id: id }));
    const { at, overlapMs, expiresAt } = options;
    if (old === null || old.revokedAt !== undefined || old.replacedBy !== undefined) return undefined;
    if (old.expiresAt !== undefined && old.expiresAt <= at) return undefined;
    const created = await this.create({ name: old.name, scopes: old.scopes, ...(expiresAt && { expiresAt }) }, at);
    const endsAt = new Date(at.getTime() + overlapMs);
    const { matchedCount } = await translated(
      this.#collection.updateOne({ _id: id, replacedBy: { $exists: false } }, [
        { $set: { replacedBy: created.record.id, expiresAt: { $min: ['$expiresAt', endsAt] } } },
      ]),
    );
    if (matchedCount === 1) return created;
    await this.revoke(created.record.id, at);
    return undefined;
  }
}

function toApiKey(document: ApiKeyDocument): ApiKey {
  return {
    id: document._id,
    name: document.name,
    prefix: document.prefix,
    scopes: document.scopes,
    createdAt: document.createdAt,
    ...(document.expiresAt !== undefined && { expiresAt: document.expiresAt }),
    ...(document.revokedAt !== undefined && { revokedAt: document.revokedAt }),
  };
}

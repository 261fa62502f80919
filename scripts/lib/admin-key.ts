import { randomBytes } from 'node:crypto';
import { API_KEY_PREFIX } from '../../src/platform/api-key.ts';

const KEY_BYTES = 32;

/** A key with every scope, for one run of a daemon on this machine. */
export function newAdminKey(): string {
  return `${API_KEY_PREFIX}${randomBytes(KEY_BYTES).toString('base64url')}`;
}

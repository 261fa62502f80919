import type { AddressInfo } from 'node:net';
import { configurationInvalid } from '../errors.ts';
import type { App } from './route.ts';

/** What an address that cannot be listened on says of the settings. */
const FAULTS: Readonly<Record<string, { readonly name: 'HOST' | 'PORT'; readonly detail: string }>> = {
  EADDRINUSE: {
    name: 'PORT',
    detail: 'is taken by another process, perhaps another tallystick: stop it, or choose another port',
  },
  EACCES: { name: 'PORT', detail: 'may not be listened on by this user: choose one above 1023' },
  EADDRNOTAVAIL: { name: 'HOST', detail: 'is not an address of this machine (0.0.0.0 listens on all of them)' },
  ENOTFOUND: { name: 'HOST', detail: 'is a name that nobody knows (0.0.0.0 listens on all addresses of this machine)' },
  EAI_AGAIN: { name: 'HOST', detail: 'is a name that cannot be looked up now; an IP address needs no look-up' },
  EINVAL: { name: 'HOST', detail: 'is no address that can be listened on' },
  EAFNOSUPPORT: { name: 'HOST', detail: 'is of a kind (IPv6, perhaps) that this machine does not have' },
};

/**
 * Lets an app listen.
 * @returns its URL.
 * @throws DaemonError `configuration_invalid` that names HOST or PORT.
 */
export async function listenOn(app: App, { host, port }: { host: string; port: number }): Promise<string> {
  try {
    await app.listen({ host, port });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    const fault = FAULTS[code];
    if (fault === undefined) throw error;
    const at = fault.name === 'PORT' ? `${port}` : host;
    throw configurationInvalid([{ name: fault.name, detail: `${at} ${fault.detail}` }], error);
  }
  const bound = app.server.address() as AddressInfo;
  return `http://${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`;
}

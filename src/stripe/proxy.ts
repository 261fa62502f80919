/** The way to Stripe through a proxy, where there is no other one. */
import type { Agent } from 'node:http';
import { HttpsProxyAgent } from 'https-proxy-agent';

export interface ProxySettings {
  /** The address of the proxy, perhaps with a user and a password. */
  readonly url: string;
  /**
   * Hosts that are reached without it: `host`, `host:port`, `.domain` for everything below it, `*` for all. A name stands
   * for everything below it, too.
   */
  readonly exceptions: readonly string[];
}

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[?::1\]?)$/i;

/**
 * What makes connections to a host through the proxy (CONNECT, so that the proxy sees nothing but the name); undefined for
 * one that is reached without it. Our own machine always is.
 */
export function proxyAgent(
  proxy: ProxySettings | undefined,
  target: { readonly host: string; readonly port: number },
): Agent | undefined {
  if (proxy === undefined || LOOPBACK.test(target.host)) return undefined;
  if (proxy.exceptions.some((exception) => isMeant(exception, target))) return undefined;
  return new HttpsProxyAgent(proxy.url, { keepAlive: true });
}

function isMeant(exception: string, { host, port }: { host: string; port: number }): boolean {
  if (exception === '*') return true;
  const [, name = '', onlyPort] = /^\*?\.?(.*?)(?::(\d+))?$/.exec(exception.toLowerCase()) ?? [];
  if (name === '' || (onlyPort !== undefined && Number(onlyPort) !== port)) return false;
  const asked = host.toLowerCase();
  return asked === name || asked.endsWith(`.${name}`);
}

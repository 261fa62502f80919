/**
 * The forms of addresses. Each function says what is wrong with a text, as a clause that follows the name of its
 * variable, or undefined. A clause never repeats the text: it may hold a password.
 */
import { isIP } from 'node:net';

/** What an address is made of, cut without changing anything. */
interface AddressParts {
  readonly scheme: string;
  /** Everything before the last `@`, if there is one. */
  readonly userInfo: string | undefined;
  readonly hosts: readonly string[];
  /** What stands between the slash behind the hosts and the question mark. */
  readonly path: string;
  readonly query: string;
}

const SCHEME = /^([a-z][a-z0-9+.-]*):\/\/(.+)$/i;
const ENCODE =
  'must have its user name and password percent-encoded (@ as %40, : as %3A, / as %2F, ? as %3F, # as %23)';
const HOST_NAME = /^(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$/;
const NUMBERS_AND_DOTS = /^[\d.]+$/;
const HOST_AND_PORT = /^(?<host>\[[0-9A-Fa-f:.%]+\]|[^[\]:]+)(?::(?<port>\d{1,5}))?$/;
/** A Unix socket, percent-encoded as MongoDB's addresses have it. */
const SOCKET = /^%2F[^:[\]]+\.sock$/i;
/** White space, line ends and what cannot be printed. */
const NOT_ONE_WORD = /[\s\p{Cc}]/u;
const PORT_MAX = 65_535;
/** A Redis has 16 databases unless it is told otherwise; which of them exist it says itself. */
const REDIS_DATABASE_MAX = 65_535;
/** Databases of MongoDB's own: `local` is not replicated, the other two belong to the cluster. */
const OWN_DATABASES: readonly string[] = ['admin', 'local', 'config'];

function cut(text: string): AddressParts | undefined {
  const [, scheme, rest] = SCHEME.exec(text) ?? [];
  if (scheme === undefined || rest === undefined) return undefined;
  const queryAt = rest.indexOf('?');
  const beforeQuery = queryAt < 0 ? rest : rest.slice(0, queryAt);
  const slashAt = beforeQuery.indexOf('/');
  const authority = slashAt < 0 ? beforeQuery : beforeQuery.slice(0, slashAt);
  const at = authority.lastIndexOf('@');
  return {
    scheme: scheme.toLowerCase(),
    userInfo: at < 0 ? undefined : authority.slice(0, at),
    hosts: authority.slice(at + 1).split(','),
    path: slashAt < 0 ? '' : beforeQuery.slice(slashAt + 1),
    query: queryAt < 0 ? '' : rest.slice(queryAt + 1),
  };
}

/** What is wrong with the characters of an address, whatever it is an address of. */
function textFault(text: string, { userInfo, path, query }: AddressParts): string | undefined {
  if (NOT_ONE_WORD.test(text)) return 'must be one line without spaces';
  if (/[<>]/.test(text)) return 'still holds a placeholder in < >';
  if (path.includes('@') || (userInfo === undefined && query.includes('@'))) return ENCODE;
  if (userInfo === undefined) return undefined;
  if (/[@/?#[\]]/.test(userInfo) || userInfo.split(':').length > 2) return ENCODE;
  return isDecodable(userInfo) ? undefined : ENCODE;
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

function hostAndPortFault(text: string): string | undefined {
  const { host, port } = HOST_AND_PORT.exec(text)?.groups ?? {};
  if (host === undefined) return 'must name a host, or host:port, in each place (an IPv6 address in brackets)';
  if (port !== undefined && (Number(port) < 1 || Number(port) > PORT_MAX))
    return `must have ports from 1 to ${PORT_MAX}`;
  const isKnown = host.startsWith('[') ? isIP(host.slice(1, -1).split('%', 1)[0] ?? '') === 6 : isHostName(host);
  return isKnown ? undefined : 'must name a host that can exist: a name, or an IP address';
}

function isHostName(text: string): boolean {
  return isIP(text) !== 0 || (HOST_NAME.test(text) && !NUMBERS_AND_DOTS.test(text));
}

/** What these options of MongoDB's address have to be, where they are given: the daemon relies on it. */
const DURABLE_OPTIONS: Readonly<Record<string, { readonly only: string; readonly why: string }>> = {
  w: { only: 'majority', why: 'a write is acknowledged by a majority, or it can be lost' },
  journal: { only: 'true', why: 'a write is acknowledged from the journal, or it can be lost' },
  j: { only: 'true', why: 'a write is acknowledged from the journal, or it can be lost' },
  readconcernlevel: { only: 'majority', why: 'what is read has to survive the loss of the primary' },
  readpreference: { only: 'primary', why: 'a secondary may lag behind what was acknowledged' },
  retrywrites: { only: 'true', why: 'writes are repeated over an election' },
};
/** Options that the daemon sets itself; given here they would be ignored, or win without a word. */
const OWN_OPTIONS: readonly string[] = ['wtimeout', 'wtimeoutms', 'maxstalenessseconds', 'readpreferencetags', 'fsync'];

/** `mongodb://` or `mongodb+srv://`. What only the driver knows (names of options) it says when it is opened. */
export function mongodbUriFault(text: string): string | undefined {
  const parts = cut(text);
  if (parts === undefined || !/^mongodb(\+srv)?$/.test(parts.scheme)) {
    return 'must be a mongodb:// or mongodb+srv:// address';
  }
  const fault = textFault(text, parts);
  if (fault !== undefined) return fault;
  const isSrv = parts.scheme === 'mongodb+srv';
  if (isSrv && (parts.hosts.length > 1 || parts.hosts[0]?.includes(':') === true)) {
    return 'must name one host without a port after mongodb+srv://';
  }
  const hosts = parts.hosts.filter((host) => !SOCKET.test(host));
  return hosts.map(hostAndPortFault).find((found) => found !== undefined) ?? optionsFault(parts.query);
}

function optionsFault(query: string): string | undefined {
  const seen = new Set<string>();
  for (const [given, value] of new URLSearchParams(query)) {
    const name = given.toLowerCase();
    if (value === '') return `must give its option ${given} a value, or leave it out`;
    if (seen.has(name)) return `must give its option ${given} once`;
    seen.add(name);
    if (OWN_OPTIONS.includes(name)) return `must not hold ${given}: the daemon sets it itself`;
    const rule = Object.hasOwn(DURABLE_OPTIONS, name) ? DURABLE_OPTIONS[name] : undefined;
    if (rule !== undefined && value.toLowerCase() !== rule.only) {
      return `must not set ${given} to anything but ${rule.only}: ${rule.why}`;
    }
  }
  return undefined;
}

/** The name of our database: one that MongoDB does not keep for itself. */
export function databaseNameFault(text: string): string | undefined {
  if (!OWN_DATABASES.includes(text.toLowerCase())) return undefined;
  return `must not be ${OWN_DATABASES.join(', ')}: those are MongoDB's own`;
}

/** `redis://` or `rediss://`, with a database's number or none. Options in it would change what the queue relies on. */
export function redisUrlFault(text: string): string | undefined {
  const parts = cut(text);
  if (parts === undefined || !/^rediss?$/.test(parts.scheme)) return 'must be a redis:// or rediss:// address';
  const fault = textFault(text, parts) ?? (parts.hosts.length > 1 ? 'must name one host' : undefined);
  if (fault !== undefined) return fault;
  const hostFault = hostAndPortFault(parts.hosts[0] ?? '');
  if (hostFault !== undefined) return hostFault;
  if (parts.query !== '' && !/^family=[046]$/.test(parts.query)) return 'must have no options but family=4 or family=6';
  if (!URL.canParse(text)) return 'must be an address that can be read';
  const isDatabase = /^\d{1,5}$/.test(parts.path) && Number(parts.path) <= REDIS_DATABASE_MAX;
  return parts.path === '' || isDatabase ? undefined : "must end in a database's number, such as /0, or in nothing";
}

/** Where Stripe is: an origin. */
export function stripeBaseFault(text: string): string | undefined {
  const parts = cutOrigin(text);
  if (parts === undefined || parts.userInfo !== undefined) {
    return 'must be an http:// or https:// address without a path, a user or options';
  }
  return originFault(text, parts);
}

/** The address of a proxy: a user and a password are its own. */
export function proxyFault(text: string): string | undefined {
  const parts = cutOrigin(text);
  if (parts === undefined || parts.hosts.length !== 1) {
    return 'must be an http:// or https:// address without a path or options';
  }
  return originFault(text, parts);
}

/** An `http://` or `https://` address with nothing behind its hosts; undefined for any other. */
function cutOrigin(text: string): AddressParts | undefined {
  const parts = cut(text);
  if (parts === undefined || !/^https?$/.test(parts.scheme)) return undefined;
  const isBare = parts.path === '' && parts.query === '' && !text.endsWith('?') && !text.includes('#');
  return isBare ? parts : undefined;
}

function originFault(text: string, parts: AddressParts): string | undefined {
  return textFault(text, parts) ?? parts.hosts.map(hostAndPortFault).find((found) => found !== undefined);
}

/** A host that is reached without a proxy. */
export function noProxyFault(text: string): string | undefined {
  if (!NOT_ONE_WORD.test(text) && !text.includes('://')) return undefined;
  return 'must be names of hosts, with commas between them and without http://';
}

/** An address to listen on: a host's name or an IP address, and nothing else. */
export function hostFault(text: string): string | undefined {
  if (/^\[.*\]$/.test(text)) return 'must be an IPv6 address without its brackets';
  if (isHostName(text) || isIP(text.split('%', 1)[0] ?? '') === 6) return undefined;
  return 'must be a name or an IP address to listen on, without http:// and without a port (0.0.0.0 for all)';
}

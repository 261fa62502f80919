import { isIPv4 } from 'node:net';

/** What a destination is told: whole objects, or thin notifications that are fetched. Stripe keeps the two apart. */
export type EventKind = 'snapshot' | 'thin';

/** Where events are sent, as a test or a person gives it. */
export interface DestinationOptions {
  /** `http:` on this machine; no other host is ever sent to. */
  url: string;
  /** What the signature is made with: `whsec_…`. */
  secret: string;
  /** Default `snapshot`. */
  kind?: EventKind;
  /** The event types it listens to; absent: every one. */
  types?: readonly string[];
}

export interface Destination extends Required<Omit<DestinationOptions, 'types'>> {
  readonly id: string;
  readonly types: readonly string[] | undefined;
}

/** The registered webhook endpoints. They are configuration: `reset` leaves them. */
export class Destinations {
  readonly #destinations = new Map<string, Destination>();
  #registered = 0;

  constructor(initial: readonly DestinationOptions[] = []) {
    for (const options of initial) this.add(options);
  }

  /** @throws RangeError for a URL that is not `http:` on this machine, or an empty secret. */
  add({ url, secret, kind = 'snapshot', types }: DestinationOptions): Destination {
    checkLoopback(url);
    if (secret === '') throw new RangeError('a destination needs a secret');
    if (!['snapshot', 'thin'].includes(kind)) throw new RangeError(`a destination is snapshot or thin, not ${kind}`);
    this.#registered += 1;
    const destination = { id: `we_${this.#registered}`, url, secret, kind, types: types && [...types] };
    this.#destinations.set(destination.id, destination);
    return destination;
  }

  /** Whether there was one of this id. What is under way to it is still tried. */
  remove(id: string): boolean {
    return this.#destinations.delete(id);
  }

  list(): Destination[] {
    return [...this.#destinations.values()];
  }

  /** Those that listen to this type. */
  listening(kind: EventKind, type: string): Destination[] {
    return this.list().filter(
      (destination) =>
        destination.kind === kind && (destination.types === undefined || destination.types.includes(type)),
    );
  }
}

function checkLoopback(url: string): void {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol !== 'http:') throw new RangeError(`the simulator sends to http: only, not to ${url}`);
  const { hostname } = parsed;
  const isLoopback =
    hostname === 'localhost' || hostname === '[::1]' || (isIPv4(hostname) && hostname.startsWith('127.'));
  if (!isLoopback) throw new RangeError(`the simulator sends to this machine only, not to ${url}`);
}

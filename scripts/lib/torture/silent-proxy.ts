import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/**
 * A loopback proxy that can fall silent: the connections that it has then stay open, and nothing passes through them any
 * more, while new ones are served. So does an address behind which the master has changed, or a firewall that forgot.
 */
export interface SilentProxy {
  readonly port: number;
  /** Connections that were silenced and that nobody has given up yet. */
  readonly silenced: number;
  /** How many connections were made through it so far. */
  readonly connections: number;
  /** Silences every present connection. */
  silence(): void;
  /** From now on new connections are silenced too, or no longer. */
  silenceNew(isSilent: boolean): void;
  stop(): Promise<void>;
}

/** Passes connections on to a port of the loopback. */
export async function startSilentProxy(target: { port: number }): Promise<SilentProxy> {
  const pairs = new Set<{ client: Socket; server: Socket; isSilent: boolean; isGivenUp: boolean }>();
  let isSilentForAll = false;
  let connections = 0;
  // Half open: a silent peer does not say goodbye either.
  const proxy = createServer({ allowHalfOpen: true }, (client) => {
    connections += 1;
    const server = connect({ port: target.port, host: '127.0.0.1', allowHalfOpen: true });
    const pair = { client, server, isSilent: isSilentForAll, isGivenUp: false };
    pairs.add(pair);
    const end = (): void => {
      pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    client.on('data', (data) => pair.isSilent || server.write(data));
    server.on('data', (data) => pair.isSilent || client.write(data));
    client.on('end', () => {
      pair.isGivenUp = true;
      if (!pair.isSilent) server.end();
    });
    server.on('end', () => pair.isSilent || client.end());
    client.on('error', end).on('close', end);
    // A server that gives up is not heard either.
    server.on('error', () => pair.isSilent || end()).on('close', () => pair.isSilent || end());
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  return {
    port: (proxy.address() as AddressInfo).port,
    get silenced() {
      return [...pairs].filter(({ isSilent, isGivenUp }) => isSilent && !isGivenUp).length;
    },
    get connections() {
      return connections;
    },
    silence: () => {
      for (const pair of pairs) pair.isSilent = true;
    },
    silenceNew: (isSilent) => {
      isSilentForAll = isSilent;
    },
    stop: async () => {
      const closed = new Promise((resolve) => proxy.close(resolve));
      for (const { client, server } of pairs) {
        client.destroy();
        server.destroy();
      }
      await closed;
    },
  };
}

/** Lends one. */
export async function withSilentProxy<T>(
  target: { port: number },
  use: (proxy: SilentProxy) => Promise<T>,
): Promise<T> {
  const proxy = await startSilentProxy(target);
  try {
    return await use(proxy);
  } finally {
    await proxy.stop();
  }
}

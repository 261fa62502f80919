/** Resolves at the first Ctrl-C or SIGTERM; a second one ends the process at once. */
export function untilInterrupted(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const signals = ['SIGINT', 'SIGTERM'] as const;
    const listen = (signal: NodeJS.Signals): void => {
      for (const name of signals) process.off(name, listen);
      resolve(signal);
    };
    for (const name of signals) process.on(name, listen);
  });
}

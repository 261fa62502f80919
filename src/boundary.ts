/**
 * Marks each point of the code that lies between two side effects. In the daemon it does nothing. The torture runs
 * install a listener that stops the process, or holds it, at one of them; they read the list of names from the source,
 * so that a new one cannot be forgotten.
 */
let listener: ((name: string) => Promise<void> | undefined) | undefined;

/** A process stopped here, and started again, has to reach the same end. `name` is `<stage>.<what was just done>`. */
export async function boundary(name: string): Promise<void> {
  if (listener !== undefined) await listener(name);
}

/** Installs the listener of a torture run or a test; undefined removes it. @internal */
export function onBoundary(next: ((name: string) => Promise<void> | undefined) | undefined): void {
  listener = next;
}

/**
 * Marks each point of the code that lies between two side effects. In the daemon it does nothing. The torture runs
 * install a listener that stops the process, or holds it, at one of them; they read the list of names from the source,
 * so that a new one cannot be forgotten.
 */
let listener: ((name: string) => Promise<void> | undefined) | undefined;
/** What listeners threw. */
const stops = new WeakSet();

/** A process stopped here, and started again, has to reach the same end. `name` is `<stage>.<what was just done>`. */
export async function boundary(name: string): Promise<void> {
  try {
    if (listener !== undefined) await listener(name);
  } catch (error) {
    if (error instanceof Error) stops.add(error);
    throw error;
  }
}

/** Whether a listener threw this to end the process: it says nothing of the work that was under way. */
export function isStop(error: unknown): boolean {
  return error instanceof Error && stops.has(error);
}

/** Installs the listener of a torture run or a test; undefined removes it. @internal */
export function onBoundary(next: ((name: string) => Promise<void> | undefined) | undefined): void {
  listener = next;
}

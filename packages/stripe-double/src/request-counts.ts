/** How often a route was asked for, and what it answered. */
export interface RequestCount {
  requests: number;
  /** Times answered by HTTP status; `0` counts connections closed without an answer. */
  statuses: Record<number, number>;
}

export class RequestCounts {
  readonly #counts = new Map<string, RequestCount>();

  add(route: string, status: number): void {
    const count = this.#counts.get(route) ?? { requests: 0, statuses: {} };
    count.requests += 1;
    count.statuses[status] = (count.statuses[status] ?? 0) + 1;
    this.#counts.set(route, count);
  }

  toJSON(): Record<string, RequestCount> {
    return structuredClone(Object.fromEntries(this.#counts));
  }
}

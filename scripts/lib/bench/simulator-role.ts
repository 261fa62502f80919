/** The simulated Stripe of a benchmark, in a process of its own. */
import { startSimulator } from '../../../src/simulator/simulator.ts';
import type { FaultPlan } from '../../../src/simulator/faults.ts';
import type { RoleWork } from './child.ts';

/** What the benchmark asks of the simulator; one of them at a time. */
export type SimulatorQuestion =
  { readonly faults: FaultPlan } | { readonly customers: number } | { readonly figures: true };

export interface SimulatorFigures {
  /** Meter events that count. */
  readonly events: number;
  /** Customer and meter pairs whose total is what one event of `PAIR_VALUE` for each submission comes to. */
  readonly totals: readonly string[];
  /** Calls to the meter events route, whatever they were answered. */
  readonly calls: number;
}

export const BENCH_KEY = 'sk_test_bench';
export const METER_EVENTS_ROUTE = 'POST /v1/billing/meter_events';
const REQUESTS_AT_ONCE = 16;

export async function startBenchSimulator(): Promise<RoleWork> {
  const simulator = await startSimulator({ rateLimitPerSecond: 0, seed: 7 });
  const figures = (): SimulatorFigures => {
    const pairs = simulator.totals();
    return {
      events: pairs.reduce((sum, { events }) => sum + events, 0),
      totals: [...new Set(pairs.map(({ total }) => total))],
      calls: simulator.requests()[METER_EVENTS_ROUTE]?.requests ?? 0,
    };
  };
  return {
    ready: { url: simulator.url },
    answer: async (question) => {
      const asked = question as SimulatorQuestion;
      if ('faults' in asked) simulator.setFaults(asked.faults);
      if ('customers' in asked) return createCustomers(simulator.url, asked.customers);
      return 'figures' in asked ? figures() : null;
    },
    stop: () => simulator.stop(),
  };
}

/** The ids of new customers, in order. */
async function createCustomers(url: string, count: number): Promise<string[]> {
  const ids: string[] = [];
  let next = 0;
  const create = async (): Promise<void> => {
    while (next < count) {
      const index = next;
      next += 1;
      const response = await fetch(`${url}/v1/customers`, {
        method: 'POST',
        headers: { authorization: `Bearer ${BENCH_KEY}`, 'content-type': 'application/x-www-form-urlencoded' },
        body: `name=customer-${index}`,
      });
      ids[index] = ((await response.json()) as { id: string }).id;
    }
  };
  await Promise.all(Array.from({ length: REQUESTS_AT_ONCE }, create));
  return ids;
}

/** The simulated Stripe of a benchmark, in a process of its own. */
import { type Simulator, startSimulator } from '../../../packages/stripe-double/src/simulator.ts';
import type { FaultPlan } from '../../../packages/stripe-double/src/faults.ts';
import type { RoleWork } from '../child.ts';

/** What the benchmark asks of the simulator; one of them at a time. */
export type SimulatorQuestion =
  | { readonly faults: FaultPlan }
  | { readonly customers: number }
  | { readonly progress: true }
  | { readonly figures: true };

/** How far the other side has come, without adding anything up. */
export interface SimulatorProgress {
  /** Meter events taken in. */
  readonly events: number;
  /** Calls to the meter events route, whatever they were answered. */
  readonly calls: number;
}

export interface SimulatorFigures extends SimulatorProgress {
  /** The totals of customers and meters, each of them once. */
  readonly totals: readonly string[];
}

export const BENCH_KEY = 'sk_test_bench';
export const METER_EVENTS_ROUTE = 'POST /v1/billing/meter_events';

export async function startBenchSimulator(): Promise<RoleWork> {
  const simulator = await startSimulator({ rateLimitPerSecond: 0, seed: 7 });
  const calls = (): number => simulator.requests()[METER_EVENTS_ROUTE]?.requests ?? 0;
  const progress = (): SimulatorProgress => ({ events: simulator.meterEventCount, calls: calls() });
  const figures = (): SimulatorFigures => {
    const pairs = simulator.totals();
    return {
      events: pairs.reduce((sum, { events }) => sum + events, 0),
      totals: [...new Set(pairs.map(({ total }) => total))],
      calls: calls(),
    };
  };
  return {
    ready: { url: simulator.url },
    answer: async (question) => {
      const asked = question as SimulatorQuestion;
      if ('faults' in asked) simulator.setFaults(asked.faults);
      if ('customers' in asked) return createCustomers(simulator, asked.customers);
      if ('progress' in asked) return progress();
      return 'figures' in asked ? figures() : null;
    },
    stop: () => simulator.stop(),
  };
}

/** The ids of new customers, in order. Made without a listener between: there may be many. */
async function createCustomers(simulator: Simulator, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const { answer } = await simulator.respond({
      method: 'POST',
      path: '/v1/customers',
      form: `name=customer-${index}`,
      authorization: `Bearer ${BENCH_KEY}`,
      idempotencyKey: undefined,
    });
    if (answer?.status !== 200) throw new Error(`the simulator made no customer ${index}: ${answer?.render()}`);
    ids.push((JSON.parse(answer.render()) as { id: string }).id);
  }
  return ids;
}

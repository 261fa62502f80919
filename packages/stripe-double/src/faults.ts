import type { SeededRandom } from './random.ts';

/** What can go wrong with a request, in the order in which a draw looks at them. */
export const faultKinds = [
  /** 429 before any effect; nothing is stored. */
  'tooManyRequests',
  /** 409 before any effect; nothing is stored. */
  'conflict',
  /** 500 before the execution begins: no effect, not stored, the same key may be sent again. */
  'errorBefore',
  /** 500 after the execution began but without its effect: stored and replayed, the key is spent. */
  'errorDuring',
  /** 500 after the effect: stored and replayed. */
  'errorAfter',
  /** The effect, the answer stored, and then a closed connection instead of it. */
  'answerLost',
  /** A closed connection before any effect. */
  'resetBefore',
  /** The call takes `slowMs` longer, holding its key and its lock, and then succeeds. */
  'slow',
] as const;
export type FaultKind = (typeof faultKinds)[number];

/** How often a fault hits; `routes` (as in the route table) limits where. */
export interface FaultRate {
  probability: number;
  routes?: readonly string[];
}
export type FaultPlan = Partial<Record<FaultKind, number | FaultRate>>;

/** Where and how often a scripted fault hits. */
export interface ScriptedFault {
  /** As in the route table, such as `POST /v1/billing/meter_events`. Absent: any. */
  route?: string;
  /** Requests, not calls of the SDK: it sends a request again once when its connection breaks. Default 1. */
  times?: number;
}

/** Decides, by seed or by script, what goes wrong with each request. At most one fault hits a request. */
export class Faults {
  readonly #random: SeededRandom;
  readonly #routeNames: ReadonlySet<string>;
  #plan: [FaultKind, FaultRate][] = [];
  #script: { kind: FaultKind; route: string | undefined; times: number }[] = [];

  constructor(random: SeededRandom, routeNames: Iterable<string>) {
    this.#random = random;
    this.#routeNames = new Set(routeNames);
  }

  /** Replaces the plan of random faults; an empty plan switches them off. */
  setPlan(plan: FaultPlan): void {
    for (const kind of Object.keys(plan)) this.#checkKind(kind);
    const rates: [FaultKind, FaultRate][] = [];
    for (const kind of faultKinds) {
      const given = plan[kind];
      if (given === undefined) continue;
      const rate = typeof given === 'number' ? { probability: given } : given;
      if (!(rate.probability >= 0 && rate.probability <= 1)) {
        throw new RangeError(`the probability of ${kind} must lie in [0, 1], not ${rate.probability}`);
      }
      for (const route of rate.routes ?? []) this.#checkRoute(route);
      rates.push([kind, rate]);
    }
    this.#plan = rates;
  }

  /** Lets the next `times` requests fail so; several scripts are used up in the order given. */
  failNext(kind: FaultKind, { route, times = 1 }: ScriptedFault = {}): void {
    this.#checkKind(kind);
    if (route !== undefined) this.#checkRoute(route);
    if (!Number.isInteger(times) || times < 1) throw new RangeError(`times must be a positive integer, not ${times}`);
    this.#script.push({ kind, route, times });
  }

  /** Switches off random and scripted faults. */
  clear(): void {
    this.#plan = [];
    this.#script = [];
  }

  /** The fault that hits this request, if any. Scripted ones come first. */
  draw(route: string): FaultKind | undefined {
    const scripted = this.#script.find((fault) => fault.route === undefined || fault.route === route);
    if (scripted !== undefined) {
      scripted.times -= 1;
      this.#script = this.#script.filter((fault) => fault.times > 0);
      return scripted.kind;
    }
    if (this.#plan.length === 0) return undefined;
    let remaining = this.#random.next();
    for (const [kind, { probability, routes }] of this.#plan) {
      if (routes !== undefined && !routes.includes(route)) continue;
      if (remaining < probability) return kind;
      remaining -= probability;
    }
    return undefined;
  }

  #checkKind(kind: string): void {
    if (!(faultKinds as readonly string[]).includes(kind)) throw new RangeError(`there is no fault ${kind}`);
  }

  #checkRoute(route: string): void {
    if (!this.#routeNames.has(route)) throw new RangeError(`there is no route ${route}`);
  }
}

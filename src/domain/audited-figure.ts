import { createHash, type Hash } from 'node:crypto';
import type { Period } from './period.ts';
import { equalQuantities, type Quantity } from './quantity.ts';
import type { UsageFigure } from './usage-figure.ts';

/** The figure of a window, or the running figure of a billing period, as an audit compares it. */
export interface AuditedFigure {
  readonly kind: 'window' | 'period';
  readonly customerId: string;
  readonly meter: string;
  /** Half-open, UTC milliseconds. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly quantity: Quantity;
  /** Facts that were counted. */
  readonly eventCount: number;
}

/** A stored figure, and what planning has made of it so far. */
export interface PlannedFigure extends AuditedFigure {
  /** What its submissions, and late usage in their place, add up to. */
  readonly planned: Quantity;
}

/** The figure of one window from raw facts, with what is needed to put windows together. */
export interface DerivedFigure {
  readonly customerId: string;
  readonly meter: string;
  readonly window: Period;
  readonly figure: UsageFigure;
}

/** A stored figure that is not what raw facts come to. */
export interface FigureDifference {
  readonly kind: AuditedFigure['kind'];
  readonly customerId: string;
  readonly meter: string;
  readonly fromMs: number;
  readonly toMs: number;
  readonly stored: { readonly quantity: Quantity; readonly eventCount: number };
  readonly raw: { readonly quantity: Quantity; readonly eventCount: number };
}

const NOTHING = { quantity: '0', eventCount: 0 };

/**
 * Lays derived figures beside stored ones of the same windows and periods. A figure without facts and one that is not
 * there are the same.
 * @param raw each window and period at most once; the same for `stored`.
 */
export function compareFigures(raw: readonly AuditedFigure[], stored: readonly AuditedFigure[]): FigureDifference[] {
  const derived = new Map(raw.map((figure) => [textOf(figure), figure]));
  const differences: FigureDifference[] = [];
  const add = (of: AuditedFigure, one: typeof NOTHING, other: typeof NOTHING): void => {
    if (one.eventCount === other.eventCount && equalQuantities(one.quantity, other.quantity)) return;
    const { kind, customerId, meter, fromMs, toMs } = of;
    differences.push({ kind, customerId, meter, fromMs, toMs, stored: figureOf(one), raw: figureOf(other) });
  };
  for (const figure of stored) {
    add(figure, figure, derived.get(textOf(figure)) ?? NOTHING);
    derived.delete(textOf(figure));
  }
  for (const figure of derived.values()) add(figure, NOTHING, figure);
  return differences.sort(byPlace);
}

function figureOf({ quantity, eventCount }: typeof NOTHING): typeof NOTHING {
  return { quantity, eventCount };
}

function textOf({ kind, customerId, meter, fromMs }: AuditedFigure): string {
  return `${kind}\u001f${customerId}\u001f${meter}\u001f${fromMs}`;
}

/**
 * The order in which figures are hashed and told: by customer, windows before periods, by start, then by meter; texts by
 * their bytes in UTF-8, as the database sorts them.
 */
export function byPlace(
  a: Pick<AuditedFigure, 'kind' | 'customerId' | 'meter' | 'fromMs'>,
  b: Pick<AuditedFigure, 'kind' | 'customerId' | 'meter' | 'fromMs'>,
): number {
  return (
    compareTexts(a.customerId, b.customerId) ||
    Number(a.kind === 'period') - Number(b.kind === 'period') ||
    a.fromMs - b.fromMs ||
    compareTexts(a.meter, b.meter)
  );
}

/** As the database sorts texts. (`<` compares UTF-16 units, which differs beyond the basic plane.) */
export function compareTexts(a: string, b: string): number {
  return a === b ? 0 : Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/**
 * A hash of figures that depends on nothing but them: the same facts give the same hash, in whatever order and batches
 * they came. Figures are added customer by customer, in the order of `byPlace`; those without facts do not count.
 */
export class ContentHash {
  readonly #all = createHash('sha256').update('tallystick figures 1\n');
  readonly #customers = new Map<string, Hash>();

  add(figures: readonly AuditedFigure[]): void {
    for (const { kind, customerId, meter, fromMs, toMs, quantity, eventCount } of figures) {
      if (eventCount === 0) continue;
      let hash = this.#customers.get(customerId);
      if (hash === undefined) this.#customers.set(customerId, (hash = createHash('sha256')));
      hash.update(`${[kind, meter, fromMs, toMs, quantity, eventCount].join('\u001f')}\n`);
    }
  }

  /** Says that nothing more is to come of these customers, in the order of their ids. */
  finish(customerIds: readonly string[]): void {
    for (const customerId of customerIds) {
      const hash = this.#customers.get(customerId);
      if (hash === undefined) continue;
      this.#all.update(`${customerId}\u001f${hash.digest('hex')}\n`);
      this.#customers.delete(customerId);
    }
  }

  /** `sha256:` and 64 hexadecimal digits. */
  digest(): string {
    return `sha256:${this.#all.digest('hex')}`;
  }
}

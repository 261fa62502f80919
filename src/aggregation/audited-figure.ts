import { createHash, type Hash } from 'node:crypto';
import type { Period } from '../customers/calendar/period.ts';
import { equalQuantities, type Quantity } from '../platform/quantity.ts';
import type { UsageFigure } from './usage-figure.ts';

/** A window of a customer's meter. */
export interface AuditedWindow {
  readonly customerId: string;
  readonly meter: string;
  /** Half-open, UTC milliseconds. */
  readonly fromMs: number;
  readonly toMs: number;
}

/** The figure of a window, of a group in it, or the running figure of a billing period, as an audit compares it. */
export interface AuditedFigure extends AuditedWindow {
  readonly kind: 'window' | 'group' | 'period';
  /** Of a group: its name, see `groupText`. */
  readonly group?: string;
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
export interface FigureDifference extends AuditedWindow {
  readonly kind: AuditedFigure['kind'];
  readonly group?: string;
  readonly stored: { readonly quantity: Quantity; readonly eventCount: number };
  readonly raw: { readonly quantity: Quantity; readonly eventCount: number };
}

const NOTHING = { quantity: '0', eventCount: 0 };

/**
 * Lays derived figures beside stored ones of the same windows, groups and periods. A figure without facts and one that is
 * not there are the same.
 * @param raw each window, group and period at most once; the same for `stored`.
 */
export function compareFigures(raw: readonly AuditedFigure[], stored: readonly AuditedFigure[]): FigureDifference[] {
  const derived = new Map(raw.map((figure) => [textOf(figure), figure]));
  const differences: FigureDifference[] = [];
  const add = (of: AuditedFigure, one: typeof NOTHING, other: typeof NOTHING): void => {
    if (one.eventCount === other.eventCount && equalQuantities(one.quantity, other.quantity)) return;
    const { kind, customerId, meter, fromMs, toMs, group } = of;
    const place = { kind, customerId, meter, fromMs, toMs, ...(group !== undefined && { group }) };
    differences.push({ ...place, stored: figureOf(one), raw: figureOf(other) });
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

function textOf({ kind, customerId, meter, fromMs, group = '' }: AuditedFigure): string {
  return `${kind}\u001f${customerId}\u001f${meter}\u001f${fromMs}\u001f${group}`;
}

type Place = Pick<AuditedFigure, 'kind' | 'customerId' | 'meter' | 'fromMs' | 'group'>;

const KINDS: readonly AuditedFigure['kind'][] = ['window', 'group', 'period'];

/**
 * The order in which figures are hashed and told: by customer, windows before groups and those before periods, by start,
 * then by meter and group; texts by their bytes in UTF-8, as the database sorts them.
 */
export function byPlace(a: Place, b: Place): number {
  return (
    compareTexts(a.customerId, b.customerId) ||
    KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) ||
    a.fromMs - b.fromMs ||
    compareTexts(a.meter, b.meter) ||
    compareTexts(a.group ?? '', b.group ?? '')
  );
}

/** As the database sorts texts. (`<` compares UTF-16 units, which differs beyond the basic plane.) */
export function compareTexts(a: string, b: string): number {
  return a === b ? 0 : Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/**
 * A hash of figures that depends on nothing but them: the same facts give the same hash, in whatever order and batches
 * they came. Figures are added customer by customer, in the order of `byPlace`; those without facts do not count. Groups
 * are left out: they are a view of a window that is not billed, and how many of them are kept by name is a bound of this
 * program, so that the same facts would hash otherwise once that changes.
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

import { Column } from './column.ts';
import { Exact } from './decimal.ts';

/** A meter event as it was taken in. */
export interface UsageEntry {
  identifier: string;
  idempotencyKey: string | undefined;
  /** Which (customer, meter) it belongs to. */
  series: number;
  /** The text of the value as it was sent. */
  value: string;
  /** Unix seconds. */
  timestamp: number;
  /** UTC milliseconds. */
  receivedAt: number;
  /** When the summaries begin to show it. */
  visibleAt: number;
  /** Payload entries other than the customer's and the value's. */
  extraPayload: ReadonlyMap<string, string> | undefined;
  /** Answered 200, but never counted. */
  rejected: boolean;
}

const never = Number.POSITIVE_INFINITY;

/**
 * Every meter event received, append-only, addressed by row number. Kept in columns because a year of a busy account is
 * millions of rows: 48 bytes a row and its identifier. A value of at most 15 significant digits survives as a double;
 * any text a double does not give back exactly is kept verbatim.
 */
export class UsageLog {
  readonly #series = new Column();
  readonly #values = new Column();
  readonly #timestamps = new Column();
  readonly #receivedAt = new Column();
  readonly #visibleAt = new Column();
  /** The next row of the same series and hour, or -1. */
  readonly #next = new Column();
  readonly #identifiers: string[] = [];
  readonly #verbatim = new Map<number, string>();
  readonly #idempotencyKeys = new Map<number, string>();
  readonly #extraPayload = new Map<number, ReadonlyMap<string, string>>();
  readonly #rejected = new Set<number>();
  /** Row → when the summaries stop to show it. */
  readonly #cancelled = new Map<number, number>();

  get length(): number {
    return this.#series.length;
  }

  append(entry: UsageEntry): number {
    const row = this.length;
    const value = Number(entry.value);
    this.#series.push(entry.series);
    this.#values.push(value);
    this.#timestamps.push(entry.timestamp);
    this.#receivedAt.push(entry.receivedAt);
    this.#visibleAt.push(entry.visibleAt);
    this.#next.push(-1);
    this.#identifiers.push(ownCopy(entry.identifier));
    if (String(value) !== entry.value) this.#verbatim.set(row, ownCopy(entry.value));
    if (entry.idempotencyKey !== undefined && entry.idempotencyKey !== entry.identifier) {
      this.#idempotencyKeys.set(row, entry.idempotencyKey);
    }
    if (entry.extraPayload !== undefined) this.#extraPayload.set(row, entry.extraPayload);
    if (entry.rejected) this.#rejected.add(row);
    return row;
  }

  /** The entry as it was appended. */
  read(row: number): UsageEntry {
    return {
      identifier: this.identifier(row),
      idempotencyKey: this.#idempotencyKeys.get(row) ?? this.identifier(row),
      series: this.series(row),
      value: this.#verbatim.get(row) ?? String(this.#values.at(row)),
      timestamp: this.timestamp(row),
      receivedAt: this.receivedAt(row),
      visibleAt: this.#visibleAt.at(row),
      extraPayload: this.#extraPayload.get(row),
      rejected: this.#rejected.has(row),
    };
  }

  identifier(row: number): string {
    const identifier = this.#identifiers[row];
    if (identifier === undefined) throw new RangeError(`no meter event in row ${row}`);
    return identifier;
  }

  series(row: number): number {
    return this.#series.at(row);
  }

  value(row: number): Exact {
    return new Exact(this.#verbatim.get(row) ?? this.#values.at(row));
  }

  timestamp(row: number): number {
    return this.#timestamps.at(row);
  }

  receivedAt(row: number): number {
    return this.#receivedAt.at(row);
  }

  /** The row after this one in the same series and hour, in the order of receipt; -1 after the last. */
  next(row: number): number {
    return this.#next.at(row);
  }

  link(row: number, next: number): void {
    this.#next.set(row, next);
  }

  /** Takes a row out of what is counted; the summaries follow with the same delay they had for the event. */
  cancel(row: number, atMs: number): void {
    this.#cancelled.set(row, atMs + this.#visibleAt.at(row) - this.#receivedAt.at(row));
  }

  isRejected(row: number): boolean {
    return this.#rejected.has(row);
  }

  isCancelled(row: number): boolean {
    return this.#cancelled.has(row);
  }

  /** Whether the summaries count the row at this instant. */
  isVisible(row: number, atMs: number): boolean {
    return this.#visibleAt.at(row) <= atMs && !(this.#goneAt(row) <= atMs);
  }

  /** Whether nothing that is already known will change how the summaries count the row. */
  isSettled(row: number, atMs: number): boolean {
    const goneAt = this.#goneAt(row);
    return this.#visibleAt.at(row) <= atMs && (goneAt === never || goneAt <= atMs);
  }

  #goneAt(row: number): number {
    return this.#cancelled.size === 0 ? never : (this.#cancelled.get(row) ?? never);
  }
}

/** A text of its own: a slice would keep the whole request body in memory. */
function ownCopy(text: string): string {
  return Buffer.from(text).toString();
}

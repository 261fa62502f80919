/** A growing array of numbers outside the JavaScript heap: 8 bytes an entry, however many there are. */
export class Column {
  #cells: Float64Array;
  #length = 0;

  constructor(capacity = 1_024) {
    this.#cells = new Float64Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    if (this.#length === this.#cells.length) {
      const larger = new Float64Array(this.#cells.length * 2);
      larger.set(this.#cells);
      this.#cells = larger;
    }
    this.#cells[this.#length] = value;
    this.#length += 1;
  }

  at(index: number): number {
    const value = index < this.#length ? this.#cells[index] : undefined;
    if (value === undefined) throw new RangeError(`no entry ${index} in a column of ${this.#length}`);
    return value;
  }

  set(index: number, value: number): void {
    if (index >= this.#length) throw new RangeError(`no entry ${index} in a column of ${this.#length}`);
    this.#cells[index] = value;
  }
}

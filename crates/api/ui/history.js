// The last minute or two of a few figures, without garbage: one array of floats for each.

/** Seconds that are kept of a backend. */
export const OF_BACKEND = 60;
/** Seconds that are kept of the totals. */
export const OF_TOTALS = 120;

export class History {
  constructor(names, length) {
    this.length = length;
    this.next = 0;
    this.filled = 0;
    this.values = Object.fromEntries(names.map((name) => [name, new Float32Array(length)]));
  }

  /** Takes one value of each in, in the order of their names. */
  push(...values) {
    let at = 0;
    for (const name in this.values) this.values[name][this.next] = values[at++] ?? NaN;
    this.next = (this.next + 1) % this.length;
    this.filled = Math.min(this.filled + 1, this.length);
  }

  /** The value that came `back` values before the latest; NaN where there is none. */
  at(name, back) {
    if (back >= this.filled) return NaN;
    return this.values[name][(this.next - 1 - back + 2 * this.length) % this.length];
  }

  /** The largest value of those that are there. */
  max(name) {
    let max = 0;
    for (let back = 0; back < this.filled; back++) {
      const value = this.at(name, back);
      if (value > max) max = value;
    }
    return max;
  }
}

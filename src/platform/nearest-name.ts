/** Names that are compared; longer ones are no misspelling of ours. */
const NAME_LENGTH_MAX = 64;
/** Shorter beginnings fit too many names. */
const PREFIX_LENGTH_MIN = 3;

/**
 * The one of `known` that was probably meant: the same name in another spelling (`dry_run`, `DryRun`), one that it
 * begins or ends, or one that differs in few characters (a third of them at most; swapped neighbours are one).
 * @returns undefined when nothing is near, or when the name is right.
 */
export function nearestName(given: string, known: readonly string[]): string | undefined {
  if (given.length === 0 || given.length > NAME_LENGTH_MAX || known.includes(given)) return undefined;
  const plain = plainForm(given);
  let nearest: string | undefined;
  let leastDistance = Math.max(1, Math.floor(plain.length / 3)) + 1;
  for (const name of known) {
    const distance = distanceBetween(plain, plainForm(name), leastDistance);
    if (distance >= leastDistance) continue;
    nearest = name;
    leastDistance = distance;
  }
  return nearest ?? known.find((name) => isPartOf(plain, plainForm(name)));
}

/** ` Did you mean "dryRun"?`, or nothing: to stand after a sentence. */
export function meantHint(given: string, known: readonly string[]): string {
  const meant = nearestName(given, known);
  return meant === undefined ? '' : ` Did you mean "${meant}"?`;
}

function plainForm(name: string): string {
  return name.toLowerCase().replace(/[-_. ]/g, '');
}

function isPartOf(given: string, name: string): boolean {
  if (given.length < PREFIX_LENGTH_MIN) return false;
  return name.startsWith(given) || name.endsWith(given);
}

/** Insertions, deletions, replacements and swaps of neighbours between two texts (optimal string alignment). */
function distanceBetween(a: string, b: string, bound: number): number {
  if (Math.abs(a.length - b.length) >= bound) return bound;
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let least = Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + cost);
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (isSwap) least = Math.min(least, (before[j - 2] ?? 0) + 1);
      next.push(least);
    }
    before = row;
    row = next;
  }
  return row[b.length] ?? bound;
}

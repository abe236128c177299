/** What a person who mistyped a word most likely meant. */

/** A part of a word is a better guess than one with two mistakes, and a worse one than a word with one. */
const ABBREVIATION_DISTANCE = 1.5;

/** `: did you mean --port?`, or nothing when no candidate is near. `decorate` writes the word as it is to be typed. */
export function didYouMean(
  word: string,
  candidates: Iterable<string>,
  decorate = (candidate: string) => `'${candidate}'`,
): string {
  const found = nearest(word, candidates);
  return found === undefined ? '' : `: did you mean ${decorate(found)}?`;
}

/** The candidate with the fewest edits; undefined when even that one needs more than a third of the word rewritten. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const lower = word.toLowerCase().slice(0, 64);
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const distance = Math.min(
      editDistance(lower, candidate.toLowerCase()),
      isAbbreviation(lower, candidate) ? ABBREVIATION_DISTANCE : Number.POSITIVE_INFINITY,
    );
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return bestDistance <= Math.max(2, Math.floor(lower.length / 3)) ? best : undefined;
}

/** `linear` for linearizable, `secret` for cluster-secret. */
function isAbbreviation(word: string, candidate: string): boolean {
  return word.length >= 3 && (candidate.startsWith(word) || candidate.endsWith(`-${word}`));
}

/** Insertions, deletions, replacements and swaps of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min(replaced, last[j]! + 1, row[j - 1]! + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, beforeLast[j - 2]! + 1);
      }
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}

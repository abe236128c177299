/**
 * Redis's glob patterns (stringmatchlen of util.c): * ? [a-z] [^a] and a backslash before what is meant literally.
 * Without recursion, so that no pattern ends the stack, and in time bounded by pattern times text.
 */

export function isPattern(text: string): boolean {
  return /[*?[]/.test(text);
}

/** The same regardless of case. */
export function globMatchesAnyCase(pattern: string, text: string): boolean {
  return globMatches(pattern.toLowerCase(), text.toLowerCase());
}

export function globMatches(pattern: string, text: string): boolean {
  let at = 0;
  let offset = 0;
  // Behind the last star, and how much of the text it has taken: it takes one more wherever the rest does not match.
  let starAt = -1;
  let starOffset = 0;
  while (offset < text.length) {
    if (pattern[at] === '*') {
      starAt = ++at;
      starOffset = offset;
      continue;
    }
    const next = matchOne(pattern, at, text[offset]!);
    if (next !== undefined) {
      at = next;
      offset++;
    } else if (starAt >= 0) {
      at = starAt;
      offset = ++starOffset;
    } else {
      return false;
    }
  }
  while (pattern[at] === '*') at++;
  return at === pattern.length;
}

/** Where the pattern goes on after matching `character` at `at`; undefined when it does not. */
function matchOne(pattern: string, at: number, character: string): number | undefined {
  const first = pattern[at];
  if (first === undefined) return undefined;
  if (first === '?') return at + 1;
  if (first === '[') return matchClass(pattern, at + 1, character);
  const literalAt = first === '\\' && at + 1 < pattern.length ? at + 1 : at;
  return pattern[literalAt] === character ? literalAt + 1 : undefined;
}

/** A class that is not closed ends with the pattern, as in Redis. */
function matchClass(pattern: string, from: number, character: string): number | undefined {
  const negated = pattern[from] === '^';
  let at = negated ? from + 1 : from;
  let found = false;
  for (; at < pattern.length && pattern[at] !== ']'; at++) {
    if (pattern[at] === '\\' && at + 1 < pattern.length) {
      at++;
      found ||= pattern[at] === character;
    } else if (pattern[at + 1] === '-' && at + 2 < pattern.length) {
      const [low, high] = [pattern[at]!, pattern[at + 2]!].sort();
      found ||= character >= low! && character <= high!;
      at += 2;
    } else {
      found ||= pattern[at] === character;
    }
  }
  return found === negated ? undefined : Math.min(at + 1, pattern.length);
}

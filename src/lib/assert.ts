/**
 * Assertions: what the code knows to be true, checked in production too.
 *
 * A failed assertion is our own bug. It is thrown, nobody catches it, and the server stops: a stopped server is one
 * failure that Raft is built to survive, a server that goes on from a state nobody thought of is not.
 * (After TigerBeetle's style guide: assert what you know, one fact each, stated positively.)
 */

export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/**
 * `fact` says in words what must hold; up to three values that explain a failure are printed after it. They are plain
 * parameters and not a template so that a check that holds, in a hot loop, builds no string and no array.
 */
export function assert(holds: boolean, fact: string, a?: unknown, b?: unknown, c?: unknown): asserts holds {
  if (!holds) fail(fact, a, b, c);
}

function fail(fact: string, a: unknown, b: unknown, c: unknown): never {
  const values = [a, b, c].filter((value) => value !== undefined).map(String);
  throw new AssertionError(values.length === 0 ? fact : `${fact} (${values.join(', ')})`);
}

/** The end of a switch over a union: the compiler proves that no case is missing, the assertion that none was forged. */
export function unreachable(value: never): never {
  throw new AssertionError(`no case for ${JSON.stringify(value)}`);
}

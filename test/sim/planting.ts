/**
 * How a bug is planted into the real code: a method of a class is replaced, and put back.
 */
export interface PlantedBug {
  readonly name: string;
  /** Where it was seen in the wild, or the rule that it breaks. */
  readonly source: string;
  /** A seed shortly before one that finds it, for those that few find: spares the tests the way there. */
  readonly fromSeed?: number;
  readonly plant: () => () => void;
}

/** Replaces a method or getter of a class, and returns the way back. */
export function replace<T extends object>(
  prototype: T,
  name: keyof T & string,
  descriptor: PropertyDescriptor,
): () => void {
  const original = Object.getOwnPropertyDescriptor(prototype, name)!;
  Object.defineProperty(prototype, name, { ...descriptor, configurable: true });
  return () => Object.defineProperty(prototype, name, original);
}

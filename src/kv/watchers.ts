/**
 * Who wants to know that a key is written, once. Not replicated: for a WATCH of a key that is missing, which must fail
 * when the key has come, also when it has gone again (see transactions.ts in `server`).
 */
export interface Watcher {
  written(): void;
}

export class Watchers {
  readonly #byKey = new Map<string, Set<Watcher>>();

  /** Nothing needs to be looked up. */
  get none(): boolean {
    return this.#byKey.size === 0;
  }

  /** The returned function ends it; it may be called more than once. */
  watch(db: number, name: string, watcher: Watcher): () => void {
    const key = keyOf(db, name);
    const watchers = this.#byKey.get(key) ?? new Set();
    this.#byKey.set(key, watchers.add(watcher));
    return () => {
      watchers.delete(watcher);
      if (watchers.size === 0 && this.#byKey.get(key) === watchers) this.#byKey.delete(key);
    };
  }

  written(db: number, name: string): void {
    const key = keyOf(db, name);
    const watchers = this.#byKey.get(key);
    if (watchers === undefined) return;
    this.#byKey.delete(key);
    for (const watcher of watchers) watcher.written();
  }

  /** Nobody can tell which keys have been written. */
  allWritten(): void {
    const all = [...this.#byKey.values()];
    this.#byKey.clear();
    for (const watchers of all) for (const watcher of watchers) watcher.written();
  }
}

function keyOf(db: number, name: string): string {
  return `${db} ${name}`;
}

/**
 * A binary heap of keys by the moment at which they expire: the earliest is on top.
 *
 * What is in it may be out of date, because a key that was deleted or given another time stays: who takes it out looks
 * at the key itself.
 */
export interface DueKey {
  readonly name: string;
  readonly atMs: number;
}

export class DueHeap {
  #heap: DueKey[] = [];

  get size(): number {
    return this.#heap.length;
  }

  get first(): DueKey | undefined {
    return this.#heap[0];
  }

  push(key: DueKey): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(key);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]!.atMs <= key.atMs) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = key;
  }

  pop(): DueKey | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1]!.atMs < heap[child]!.atMs) child++;
      if (heap[child]!.atMs >= last.atMs) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }

  clear(): void {
    this.#heap = [];
  }
}

/**
 * Virtual time: a heap of events, taken in the order of their time, and of their making where the times are equal.
 *
 * Events belong to a life of a server (or to nobody). When the server has crashed they are dropped; while it is paused
 * they wait, and happen late, all at once, as for a process that was stopped with SIGSTOP.
 *
 * Code under simulation may use promises while it starts and stops. An event that settles one is marked, and all
 * microtasks are run to their end behind it, so the order of events alone decides.
 */

/** One life of one server, from start to crash. */
export interface Life {
  alive: boolean;
  paused: boolean;
  /** What would have happened while it was paused. */
  readonly held: (() => void)[];
}

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly life: Life | undefined;
  readonly run: () => void;
  readonly settlesPromise: boolean;
}

export class Scheduler {
  nowMs = 0;
  eventCount = 0;
  #heap: Event[] = [];
  #order = 0;
  /** Called after every event. */
  afterEvent: () => void = () => {};
  #settles = false;

  at(atMs: number, life: Life | undefined, run: () => void, settlesPromise = false): void {
    this.#push({ atMs: Math.max(atMs, this.nowMs), order: this.#order++, life, run, settlesPromise });
  }

  after(delayMs: number, life: Life | undefined, run: () => void, settlesPromise = false): void {
    this.at(this.nowMs + delayMs, life, run, settlesPromise);
  }

  resume(life: Life): void {
    life.paused = false;
    const held = life.held.splice(0);
    for (const run of held) this.after(0, life, run, true);
  }

  /** Lets the world go on until `untilMs`, or until `stop` says so; it is asked after every event. */
  async run(untilMs: number, stop: () => boolean = () => false): Promise<void> {
    for (;;) {
      const event = this.#heap[0];
      if (event === undefined || event.atMs > untilMs) break;
      this.#pop();
      this.nowMs = event.atMs;
      const { life } = event;
      if (life !== undefined && !life.alive) continue;
      if (life?.paused) {
        life.held.push(event.run);
        continue;
      }
      this.eventCount++;
      event.run();
      if (event.settlesPromise || this.#settles) {
        this.#settles = false;
        await new Promise((resolve) => setImmediate(resolve));
      }
      this.afterEvent();
      if (stop()) return;
    }
    if (untilMs !== Number.POSITIVE_INFINITY) this.nowMs = Math.max(this.nowMs, untilMs);
  }

  /** Something that this event calls settles promises: let them run before the next event. */
  settle(): void {
    this.#settles = true;
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let i = heap.push(event) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!before(event, heap[parent]!)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
  }
}

function before(a: Event, b: Event): boolean {
  return a.atMs !== b.atMs ? a.atMs < b.atMs : a.order < b.order;
}

/**
 * Is there an order? A checker of client histories.
 *
 * A history is linearizable when its operations can be put in one order that a single server could have executed, and in
 * which each operation takes effect somewhere between its call and its return. The search is Wing & Gong's, with Lowe's
 * memory of what has been tried (the same set of operations taken, leading to the same state, need not be tried
 * twice), one partition (key) at a time: the recipe of Porcupine (Anishathalye) and of Knossos before it.
 *
 *   events   call 1 | call 2 | return 1 | call 3 | return 2 ...     a linked list, in order of time
 *   search   walk from the front: a call may be taken next, if the model agrees; then its events leave the list, and the
 *            walk begins anew. At a return nothing more may be skipped: the last operation taken is put back.
 *
 * Intervals are closed: an operation that returns at the instant in which another is called may come after it.
 *
 * An operation whose outcome nobody knows returns at infinity: it may take effect at any time after its call, or never.
 * (One that has definitely failed does not belong in the history.) A hundred of them would leave 2^100 choices, so they
 * are kept out of the list and taken only where the walk is stuck without, and not if
 *   - they would change nothing;
 *   - the operation taken next leads to the same state without them;
 *   - an equal one that was called earlier is still there to be taken;
 *   - the same known operations and fewer unknown ones have led to the same state before.
 * A read is taken as soon as the state allows, without looking back: later would be no better. None of this loses an
 * order: of all the orders there are, one that is shortest is never passed over.
 */
import { assert } from '../../src/lib/assert.ts';

export interface Operation<Op> {
  readonly client: number;
  readonly op: Op;
  readonly callMs: number;
  /** Infinity when the outcome is unknown; then the model must accept `op` in every state. */
  readonly returnMs: number;
}

/** What a single server would do. */
export interface Model<State, Op> {
  readonly initial: State;
  /** The state after `op`, or undefined when what `op` returned cannot be in `state`. States are never changed. */
  step(state: State, op: Op): State | undefined;
  /** Equal for equal states only. */
  key(state: State): string;
  /** Operations of different partitions have nothing to do with each other. Without it there is one. */
  partition?(op: Op): string;
  /** Whether `op`, by what it returned, changes no state: then it is taken as soon as it can be, and nothing else tried. */
  isRead?(op: Op): boolean;
  /** For people; equal for equal operations only. */
  describe(op: Op): string;
}

export interface Verdict {
  /** `unknown`: the bound was reached before the search was over. */
  readonly outcome: 'ok' | 'violation' | 'unknown';
  /** How often the model was asked. */
  readonly steps: number;
  /** Of a violation: how far the operations can be explained, and where that ends. */
  readonly description: string;
}

export const STEPS_MAX = 5_000_000;

export function checkLinearizable<State, Op>(
  model: Model<State, Op>,
  history: readonly Operation<Op>[],
  options: { readonly stepsMax?: number } = {},
): Verdict {
  let stepsLeft = options.stepsMax ?? STEPS_MAX;
  let steps = 0;
  let unknown = '';
  for (const [name, operations] of partitions(model, history)) {
    const search = new Search(model, operations, stepsLeft);
    const outcome = search.run();
    steps += search.steps;
    stepsLeft -= search.steps;
    if (outcome === 'violation') return { outcome, steps, description: `${name}${search.describe()}` };
    if (outcome === 'unknown') unknown ||= `${name}not decided in ${search.steps} steps`;
  }
  return { outcome: unknown === '' ? 'ok' : 'unknown', steps, description: unknown };
}

function partitions<State, Op>(
  model: Model<State, Op>,
  history: readonly Operation<Op>[],
): Map<string, Operation<Op>[]> {
  const found = new Map<string, Operation<Op>[]>();
  for (const operation of history) {
    assert(operation.callMs <= operation.returnMs, 'a call comes before its return');
    const name = model.partition === undefined ? '' : `${model.partition(operation.op)}: `;
    const operations = found.get(name);
    if (operations === undefined) found.set(name, [operation]);
    else operations.push(operation);
  }
  return found;
}

/** A call or a return in the linked list, of an operation of known outcome. */
interface Event {
  readonly index: number;
  readonly atMs: number;
  readonly isCall: boolean;
  /** Of a call. */
  readonly return: Event | undefined;
  previous: Event;
  next: Event | undefined;
}

/** An operation of unknown outcome; the one like it that was called before it comes first. */
interface Unknown {
  readonly index: number;
  readonly callMs: number;
  readonly twin: number | undefined;
}

/** An operation in the order tried at present: the call of a known one, or the place among the unknown ones. */
interface Taken<State> {
  readonly index: number;
  readonly call: Event | undefined;
  readonly unknown: number;
  /** A read: nothing else need be tried in its place. */
  readonly forced: boolean;
  readonly before: State;
}

class Search<State, Op> {
  readonly #model: Model<State, Op>;
  readonly #operations: readonly Operation<Op>[];
  readonly #stepsMax: number;
  /** Before the first event. */
  readonly #head: Event;
  /** In order of their calls. */
  readonly #unknowns: readonly Unknown[];
  steps = 0;

  readonly #taken: Taken<State>[] = [];
  readonly #known: BitSet;
  readonly #unknown: BitSet;
  /** For known operations taken and the state they led to: the unknown ones that were taken with them. */
  readonly #tried = new Map<string, BitSet[]>();
  #state: State;
  /** Operations of known outcome that are not taken. */
  #owed: number;
  #leastOwed: number;
  #longest: readonly number[] = [];
  #longestState: State;

  constructor(model: Model<State, Op>, operations: readonly Operation<Op>[], stepsMax: number) {
    this.#model = model;
    this.#operations = operations;
    this.#stepsMax = stepsMax;
    this.#head = link(operations);
    this.#unknowns = unknownsOf(model, operations);
    this.#known = new BitSet(operations.length);
    this.#unknown = new BitSet(operations.length);
    this.#state = model.initial;
    this.#longestState = model.initial;
    this.#owed = operations.length - this.#unknowns.length;
    this.#leastOwed = this.#owed;
  }

  run(): Verdict['outcome'] {
    let event = this.#firstChoice();
    let unknown = 0;
    while (this.#owed > 0) {
      if (this.steps >= this.#stepsMax) return 'unknown';
      assert(event !== undefined, 'an operation that is owed has its return ahead');
      if (event.isCall) {
        event = this.#takeKnown(event) ? this.#firstChoice() : event.next;
      } else if (unknown < this.#unknowns.length && this.#unknowns[unknown]!.callMs <= event.atMs) {
        const taken = this.#takeUnknown(unknown);
        if (taken) event = this.#firstChoice();
        unknown = taken ? 0 : unknown + 1;
      } else {
        const last = this.#putBack();
        if (last === undefined) return 'violation';
        event = last.call === undefined ? this.#firstReturn() : last.call.next;
        unknown = last.unknown + 1;
      }
    }
    return 'ok';
  }

  /** Takes all reads that can be taken; then the choice begins with the first call that is left. */
  #firstChoice(): Event | undefined {
    const { isRead } = this.#model;
    if (isRead === undefined) return this.#head.next;
    for (let event = this.#head.next; event?.isCall; event = event.next) {
      const { op } = this.#operations[event.index]!;
      if (!isRead(op) || this.#step(this.#state, op) === undefined) continue;
      this.#taken.push({ index: event.index, call: event, unknown: -1, forced: true, before: this.#state });
      this.#known.flip(event.index);
      this.#settle(event);
    }
    return this.#head.next;
  }

  #takeKnown(call: Event): boolean {
    this.#known.flip(call.index);
    if (!this.#advance({ index: call.index, call, unknown: -1, forced: false, before: this.#state })) {
      this.#known.flip(call.index);
      return false;
    }
    this.#settle(call);
    return true;
  }

  #settle(call: Event): void {
    unlink(call);
    this.#owed--;
    if (this.#owed < this.#leastOwed) this.#remember();
  }

  #takeUnknown(place: number): boolean {
    const { index, twin } = this.#unknowns[place]!;
    if (this.#unknown.has(index) || (twin !== undefined && !this.#unknown.has(twin))) return false;
    this.#unknown.flip(index);
    if (this.#advance({ index, call: undefined, unknown: place, forced: false, before: this.#state }))
      return true;
    this.#unknown.flip(index);
    return false;
  }

  /** To the state after the operation, unless the model disagrees or it is no use. */
  #advance(next: Taken<State>): boolean {
    const { op } = this.#operations[next.index]!;
    const state = this.#step(this.#state, op);
    if (state === undefined) {
      assert(next.call !== undefined, 'an operation of unknown outcome is possible in every state');
      return false;
    }
    const key = this.#model.key(state);
    if (next.call === undefined && key === this.#model.key(this.#state)) return false;
    if (this.#isSameWithoutLast(op, key) || this.#wasTried(key)) return false;
    this.#taken.push(next);
    this.#state = state;
    return true;
  }

  #step(state: State, op: Op): State | undefined {
    this.steps++;
    return this.#model.step(state, op);
  }

  /** Whether the last operation taken is an unknown one that `op`, now leading to `key`, does not need. */
  #isSameWithoutLast(op: Op, key: string): boolean {
    const last = this.#taken.at(-1);
    if (last === undefined || last.unknown < 0) return false;
    const state = this.#step(last.before, op);
    return state !== undefined && this.#model.key(state) === key;
  }

  /** Whether no more than what is taken now has led here before; if not, it is noted that it has now. */
  #wasTried(stateKey: string): boolean {
    const key = `${this.#known.key()}|${stateKey}`;
    const tried = this.#tried.get(key);
    if (tried === undefined) {
      this.#tried.set(key, [this.#unknown.copy()]);
      return false;
    }
    if (tried.some((unknown) => unknown.isWithin(this.#unknown))) return true;
    tried.push(this.#unknown.copy());
    return false;
  }

  /** Puts back the last operation that was a choice, and the reads that were none behind it. */
  #putBack(): Taken<State> | undefined {
    let last = this.#putBackOne();
    while (last?.forced) last = this.#putBackOne();
    return last;
  }

  #putBackOne(): Taken<State> | undefined {
    const last = this.#taken.pop();
    if (last === undefined) return undefined;
    this.#state = last.before;
    if (last.call === undefined) {
      this.#unknown.flip(last.index);
    } else {
      this.#known.flip(last.index);
      relink(last.call);
      this.#owed++;
    }
    return last;
  }

  #firstReturn(): Event | undefined {
    let event = this.#head.next;
    while (event?.isCall) event = event.next;
    return event;
  }

  #remember(): void {
    this.#leastOwed = this.#owed;
    this.#longest = this.#taken.map(({ index }) => index);
    this.#longestState = this.#state;
  }

  describe(): string {
    const taken = new Set(this.#longest);
    const left = this.#operations.filter((_, index) => !taken.has(index));
    const firstReturnMs = Math.min(...left.map((operation) => operation.returnMs));
    const stuck = left.filter((operation) => operation.callMs <= firstReturnMs);
    return [
      `no order explains these ${this.#operations.length} operations; the longest that does has ${taken.size}:`,
      ...this.#longest.map((index) => this.#line(this.#operations[index]!)),
      `then the state is ${this.#model.key(this.#longestState)}, and one of these must follow, but none leads to the end:`,
      ...stuck.map((operation) => this.#line(operation)),
    ].join('\n');
  }

  #line(operation: Operation<Op>): string {
    const returned = isKnown(operation) ? `${operation.returnMs}` : '?';
    return `  [${operation.callMs}, ${returned}] client ${operation.client}: ${this.#model.describe(operation.op)}`;
  }
}

class BitSet {
  readonly #words: Uint16Array;

  constructor(bits: number | Uint16Array) {
    this.#words = typeof bits === 'number' ? new Uint16Array(Math.ceil(bits / 16)) : bits;
  }

  flip(bit: number): void {
    this.#words[bit >> 4]! ^= 1 << (bit & 15);
  }

  has(bit: number): boolean {
    return (this.#words[bit >> 4]! & (1 << (bit & 15))) !== 0;
  }

  copy(): BitSet {
    return new BitSet(this.#words.slice());
  }

  isWithin(other: BitSet): boolean {
    return this.#words.every((word, index) => (word & ~other.#words[index]!) === 0);
  }

  /** Equal for equal sets. Short where the set is full up to some place and empty from another. */
  key(): string {
    let from = 0;
    let to = this.#words.length;
    while (from < to && this.#words[from] === 0xffff) from++;
    while (to > from && this.#words[to - 1] === 0) to--;
    return `${from}:${String.fromCharCode(...this.#words.subarray(from, to))}`;
  }
}

function isKnown<Op>(operation: Operation<Op>): boolean {
  return operation.returnMs !== Number.POSITIVE_INFINITY;
}

function unknownsOf<State, Op>(model: Model<State, Op>, operations: readonly Operation<Op>[]): Unknown[] {
  const twins = new Map<string, number>();
  return [...operations.entries()]
    .filter(([, operation]) => !isKnown(operation))
    .sort(([, a], [, b]) => a.callMs - b.callMs)
    .map(([index, { op, callMs }]) => {
      const name = model.describe(op);
      const twin = twins.get(name);
      twins.set(name, index);
      return { index, callMs, twin };
    });
}

/** The events in order of time, calls before returns of the same instant; the head before the first is returned. */
function link<Op>(operations: readonly Operation<Op>[]): Event {
  const events: Event[] = [];
  for (const [index, operation] of operations.entries()) {
    if (!isKnown(operation)) continue;
    const returned = event(index, operation.returnMs, undefined);
    events.push(event(index, operation.callMs, returned), returned);
  }
  events.sort((a, b) => a.atMs - b.atMs || Number(b.isCall) - Number(a.isCall));
  const head = event(-1, Number.NEGATIVE_INFINITY, undefined);
  let last = head;
  for (const next of events) {
    last.next = next;
    next.previous = last;
    last = next;
  }
  return head;
}

function event(index: number, atMs: number, returned: Event | undefined): Event {
  const made = { index, atMs, isCall: returned !== undefined, return: returned, next: undefined } as Event;
  // Until it is linked; the head stays its own.
  made.previous = made;
  return made;
}

/** Takes a call and its return out of the list. They keep their places in mind, for `relink` in reverse order. */
function unlink(call: Event): void {
  cut(call);
  cut(call.return!);
}

function relink(call: Event): void {
  insert(call.return!);
  insert(call);
}

function cut(event: Event): void {
  event.previous.next = event.next;
  if (event.next !== undefined) event.next.previous = event.previous;
}

function insert(event: Event): void {
  event.previous.next = event;
  if (event.next !== undefined) event.next.previous = event;
}

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
 * Intervals are closed: an operation that returns at the instant in which another is called may come after it. An
 * operation whose outcome nobody knows returns at infinity: it may take effect at any time after its call, or never. One
 * that has definitely failed does not belong in the history.
 */
import { assert } from '../../src/lib/assert.ts';

export interface Operation<Op> {
  readonly client: number;
  readonly op: Op;
  readonly callMs: number;
  /** Infinity when the outcome is unknown; then the model must accept `op` in every state. */
  readonly returnMs: number;
}

export interface Model<State, Op> {
  readonly initial: State;
  /** The state after `op`, or undefined when what `op` returned cannot be in `state`. States are never changed. */
  step(state: State, op: Op): State | undefined;
  /** Equal for equal states only. */
  key(state: State): string;
  /** Operations of different partitions have nothing to do with each other. Without it there is one. */
  partition?(op: Op): string;
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

/** A call or a return in the linked list. A call knows its return, unless it never comes. */
interface Event {
  readonly index: number;
  readonly isCall: boolean;
  readonly return: Event | undefined;
  previous: Event;
  next: Event | undefined;
}

class Search<State, Op> {
  readonly #model: Model<State, Op>;
  readonly #operations: readonly Operation<Op>[];
  readonly #stepsMax: number;
  /** Before the first event. */
  readonly #head: Event;
  steps = 0;

  /** The operations taken, in order, and the state before each. */
  readonly #taken: Event[] = [];
  readonly #before: State[] = [];
  readonly #bits: Uint16Array;
  readonly #tried = new Set<string>();
  #state: State;
  /** Operations of known outcome that are not taken. */
  #owed = 0;
  #longest: number[] = [];
  #longestState: State;

  constructor(model: Model<State, Op>, operations: readonly Operation<Op>[], stepsMax: number) {
    this.#model = model;
    this.#operations = operations;
    this.#stepsMax = stepsMax;
    this.#head = link(operations);
    this.#bits = new Uint16Array(Math.ceil(operations.length / 16));
    this.#state = model.initial;
    this.#longestState = model.initial;
    for (const operation of operations) if (isKnown(operation)) this.#owed++;
  }

  run(): Verdict['outcome'] {
    let event = this.#head.next;
    while (this.#owed > 0) {
      assert(event !== undefined, 'an operation that is owed has its return ahead');
      if (!event.isCall) {
        const last = this.#putBack();
        if (last === undefined) return 'violation';
        event = last.next;
      } else if (this.steps === this.#stepsMax) {
        return 'unknown';
      } else {
        event = this.#take(event) ? this.#head.next : event.next;
      }
    }
    return 'ok';
  }

  /** Takes the operation next, if the model agrees and that has not been tried. */
  #take(event: Event): boolean {
    const operation = this.#operations[event.index]!;
    this.steps++;
    const state = this.#model.step(this.#state, operation.op);
    if (state === undefined) {
      assert(isKnown(operation), 'an operation of unknown outcome is possible in every state');
      return false;
    }
    const stateKey = this.#model.key(state);
    // What may as well never have happened, and would change nothing, is left for later.
    if (!isKnown(operation) && stateKey === this.#model.key(this.#state)) return false;
    this.#flip(event.index);
    const key = `${String.fromCharCode(...this.#bits)}|${stateKey}`;
    if (this.#tried.has(key)) {
      this.#flip(event.index);
      return false;
    }
    this.#tried.add(key);
    this.#taken.push(event);
    this.#before.push(this.#state);
    this.#state = state;
    if (isKnown(operation)) this.#owed--;
    if (this.#taken.length > this.#longest.length) this.#remember();
    unlink(event);
    return true;
  }

  #putBack(): Event | undefined {
    const event = this.#taken.pop();
    if (event === undefined) return undefined;
    this.#state = this.#before.pop()!;
    this.#flip(event.index);
    if (isKnown(this.#operations[event.index]!)) this.#owed++;
    relink(event);
    return event;
  }

  #flip(index: number): void {
    this.#bits[index >> 4]! ^= 1 << (index & 15);
  }

  #remember(): void {
    this.#longest = this.#taken.map((event) => event.index);
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

function isKnown<Op>(operation: Operation<Op>): boolean {
  return operation.returnMs !== Number.POSITIVE_INFINITY;
}

/** The events in order of time, calls before returns of the same instant; the head before the first is returned. */
function link<Op>(operations: readonly Operation<Op>[]): Event {
  const events: { atMs: number; event: Event }[] = [];
  const head = event(-1, false, undefined);
  for (const [index, operation] of operations.entries()) {
    const returned = isKnown(operation) ? event(index, false, undefined) : undefined;
    events.push({ atMs: operation.callMs, event: event(index, true, returned) });
    if (returned !== undefined) events.push({ atMs: operation.returnMs, event: returned });
  }
  events.sort((a, b) => a.atMs - b.atMs || Number(b.event.isCall) - Number(a.event.isCall));
  let last = head;
  for (const { event: next } of events) {
    last.next = next;
    next.previous = last;
    last = next;
  }
  return head;
}

function event(index: number, isCall: boolean, returned: Event | undefined): Event {
  const made: Omit<Event, 'previous'> & { previous?: Event } = {
    index,
    isCall,
    return: returned,
    next: undefined,
  };
  made.previous = made as Event;
  return made as Event;
}

/** Takes a call and its return out of the list. They keep their places in mind, for `relink` in reverse order. */
function unlink(call: Event): void {
  cut(call);
  if (call.return !== undefined) cut(call.return);
}

function relink(call: Event): void {
  if (call.return !== undefined) insert(call.return);
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

/**
 * Clients that move money between accounts by transactions: with WATCH, as one who looks first, or without. Whatever
 * happens, what all accounts hold together stays nothing.
 */
import { assert } from '../../src/lib/assert.ts';
import { fromLatin1 } from '../../src/lib/bytes.ts';
import { NullArrayReply, type Reply } from '../../src/resp/reply.ts';
import { call, History, outcomeOf, type Request, type SwarmClient, textOf } from './calls.ts';
import type { Cluster, SimServer } from './cluster.ts';
import type { Model } from './linearizability.ts';
import type { SimRandom } from './random.ts';

const ACCOUNTS = ['acct0', 'acct1', 'acct2'];

type Balances = readonly number[];

interface Move {
  readonly name: 'MOVE';
  readonly from: number;
  readonly to: number;
  readonly amount: number;
  /** What both held when the client looked, after it began to watch them; undefined: it did not. */
  readonly seen: Balances | undefined;
  /** All balances right behind the move; `refused`: a watched key had changed. Undefined: not known. */
  readonly reply: Balances | 'refused' | undefined;
}

export type AccountOp = Move | { readonly name: 'BALANCES'; readonly reply: Balances };

/**
 * A move that was watched happens only where both accounts hold what the client saw. (That one is refused proves that
 * something was written meanwhile, be it the same: nothing that the balances could contradict.)
 */
export const accountModel: Model<Balances, AccountOp> = {
  initial: ACCOUNTS.map(() => 0),
  step: (state, op) => {
    if (op.name === 'BALANCES') return equal(state, op.reply) ? state : undefined;
    if (op.reply === 'refused') return op.seen === undefined ? undefined : state;
    const { from, to, amount, seen } = op;
    const as = seen === undefined || (state[from] === seen[0] && state[to] === seen[1]);
    if (!as) return op.reply === undefined ? state : undefined;
    const after = state.map((held, i) => (i === from ? held - amount : i === to ? held + amount : held));
    return op.reply === undefined || equal(op.reply, after) ? after : undefined;
  },
  key: (state) => state.join(),
  isRead: (op) => op.name === 'BALANCES' || op.reply === 'refused',
  describe: (op) => JSON.stringify(op),
};

function equal(a: Balances, b: Balances): boolean {
  return a.every((held, i) => held === b[i]);
}

export class AccountClient implements SwarmClient {
  readonly history: History<AccountOp>;
  readonly #cluster: Cluster;
  readonly #random: SimRandom;
  readonly #pauseMeanMs: number;
  #server: SimServer;
  readonly #untilMs: number;
  done = false;

  constructor(cluster: Cluster, id: number, work: { untilMs: number; pauseMeanMs: number }) {
    this.#cluster = cluster;
    this.history = new History(cluster, id);
    this.#random = cluster.random.split();
    this.#untilMs = work.untilMs;
    this.#pauseMeanMs = work.pauseMeanMs;
    this.#server = this.#random.pick(cluster.serving);
    this.#later();
  }

  get operations(): number {
    return this.history.operations.length;
  }

  get unknown(): number {
    return this.history.unknown;
  }

  #later(): void {
    this.#cluster.scheduler.after(this.#random.exponential(this.#pauseMeanMs), undefined, () => this.#next());
  }

  #next(): void {
    if (this.#cluster.scheduler.nowMs > this.#untilMs) {
      this.done = true;
      return;
    }
    if (!this.#server.up || this.#random.chance(0.1)) this.#server = this.#random.pick(this.#cluster.serving);
    if (this.#random.chance(0.3)) return this.#look();
    const from = this.#random.below(ACCOUNTS.length);
    const to = (from + 1 + this.#random.below(ACCOUNTS.length - 1)) % ACCOUNTS.length;
    const move = { from, to, amount: 1 + this.#random.below(100) };
    if (this.#random.chance(0.3)) this.#move({ ...move, seen: undefined }, []);
    else this.#watchAndMove(move);
  }

  /** Goes on with the reply; without one the client begins anew. */
  #ask(request: Request, then: (reply: Reply) => void): void {
    call(this.#cluster, this.#server, request, (reply) => {
      if (outcomeOf(reply) === 'replied') then(reply!);
      else this.#later();
    });
  }

  #look(): void {
    const callMs = this.#cluster.scheduler.nowMs;
    this.#ask({ kind: 'command', argv: ['MGET', ...ACCOUNTS] }, (reply) => {
      this.history.enter(callMs, { name: 'BALANCES', reply: checked(balancesOf(reply as readonly Reply[])) });
      this.#later();
    });
  }

  #watchAndMove(move: { from: number; to: number; amount: number }): void {
    const keys = [ACCOUNTS[move.from]!, ACCOUNTS[move.to]!];
    this.#ask({ kind: 'versions', keys }, (versions) => {
      this.#ask({ kind: 'command', argv: ['MGET', ...keys] }, (reply) => {
        const watched = keys.map((key, i) => ({
          ...{ db: 0, key: fromLatin1(key), version: (versions as readonly number[])[i]! },
        }));
        const act = () => this.#move({ ...move, seen: balancesOf(reply as readonly Reply[]) }, watched);
        // Some think before they act.
        if (this.#random.chance(0.5)) act();
        else this.#cluster.scheduler.after(this.#random.exponential(this.#pauseMeanMs), undefined, act);
      });
    });
  }

  #move(
    move: Omit<Move, 'name' | 'reply'>,
    watched: readonly { db: number; key: Uint8Array; version: number }[],
  ): void {
    const { from, to, amount } = move;
    const commands = [
      ['DECRBY', ACCOUNTS[from]!, `${amount}`],
      ['INCRBY', ACCOUNTS[to]!, `${amount}`],
      ...ACCOUNTS.map((account) => ['GET', account]),
    ].map((words) => ({ db: 0, argv: words.map(fromLatin1) }));
    const callMs = this.#cluster.scheduler.nowMs;
    const request: Request = { kind: 'transaction', transaction: { watched, commands } };
    call(this.#cluster, this.#server, request, (reply) => {
      const outcome = outcomeOf(reply);
      if (outcome === 'unknown')
        this.history.enterUnknown(callMs, { name: 'MOVE', ...move, reply: undefined });
      else if (outcome === 'replied')
        this.history.enter(callMs, { name: 'MOVE', ...move, reply: moved(reply!) });
      this.#later();
    });
  }
}

function moved(reply: Reply): Balances | 'refused' {
  if (reply instanceof NullArrayReply) return 'refused';
  return checked(balancesOf((reply as readonly Reply[]).slice(2)));
}

function balancesOf(replies: readonly Reply[]): Balances {
  return replies.map((reply) => Number(textOf(reply) ?? 0));
}

function checked(balances: Balances): Balances {
  const sum = balances.reduce((total, held) => total + held, 0);
  assert(sum === 0, 'a transaction happens whole or not at all', balances.join());
  return balances;
}

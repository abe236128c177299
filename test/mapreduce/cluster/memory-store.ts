/** The system database and a clock by themselves, for services of several servers: what the coordinator asks of its host. */
import { Buffer } from 'node:buffer';
import type { Coordination } from '../../../src/mapreduce/cluster/coordination.ts';
import type { Answer, Question } from '../../../src/mapreduce/cluster/messages.ts';
import { NullArrayReply, type Reply } from '../../../src/resp/reply.ts';
import type { ServiceHost, ServiceTransaction } from '../../../src/server/service.ts';

type Done = (reply: Reply) => void;

export class MemoryStore {
  readonly values = new Map<string, { value: Buffer; version: number }>();
  /** Views, the oldest first, as every server has them. */
  views: string[] = [];
  readonly frozen: string[] = [];
  leader = 1;
  term = 1;
  nowMs = 0;
  #version = 0;
  #order = 0;
  #timers: { atMs: number; order: number; run: () => void }[] = [];
  /** What is done with a transaction instead of carrying it out at once. */
  onTransaction: ((transaction: ServiceTransaction, carryOut: () => void) => void) | undefined;
  /** As for a freeze. */
  onFreeze: ((id: string, carryOut: () => void) => void) | undefined;

  hostOf(id: number): ServiceHost {
    const store = this;
    const log = { debug() {}, verbose() {}, notice() {}, warning() {} };
    const member = (each: number) => ({ id: each, name: `s${each}`, host: `h${each}` });
    const host: Omit<ServiceHost, 'leader' | 'term' | 'views'> = {
      log,
      directory: '/data',
      diskFull: false,
      self: member(id),
      members: [1, 2].map(member),
      clock: {
        monotonicMs: () => store.nowMs,
        wallMs: () => store.nowMs,
        after: (delayMs, run) => store.#after(delayMs, run),
        endOfTurn: (run) => void store.#after(0, run),
      },
      random: { below: () => 0, bytes: (count) => new Uint8Array(count).fill(7) },
      transact(transaction, done) {
        const carryOut = () => store.#later(done, store.#transact(transaction));
        if (store.onTransaction === undefined) carryOut();
        else store.onTransaction(transaction, carryOut);
      },
      read: ({ argv }, done) => store.#later(done, store.#run(argv)),
      versionOf: (key, done) => store.#later(done, store.values.get(nameOf(key))?.version ?? 0),
      call: (_to, _payload, done) => void store.#after(1, () => done(undefined)),
      freeze(view, done) {
        const carryOut = () => {
          store.frozen.push(view);
          store.views = [...store.views.filter((each) => each !== view), view].slice(-4);
          store.#after(1, () => done(true));
        };
        if (store.onFreeze === undefined) carryOut();
        else store.onFreeze(view, carryOut);
      },
      view: () => undefined,
      release: () => {},
    };
    return Object.defineProperties(host, {
      leader: { get: () => store.leader },
      term: { get: () => store.term },
      views: { get: () => store.views },
    }) as ServiceHost;
  }

  #after(delayMs: number, run: () => void) {
    const timer = { atMs: this.nowMs + delayMs, order: this.#order++, run };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((each) => each !== timer);
      },
    };
  }

  #later(done: Done, reply: Reply): void {
    this.#after(1, () => done(reply));
  }

  #transact({ watched, commands }: ServiceTransaction): Reply {
    for (const { key, version } of watched) {
      if ((this.values.get(nameOf(key))?.version ?? 0) !== version) return new NullArrayReply();
    }
    this.#version++;
    return commands.map(({ argv }) => this.#run(argv));
  }

  #run(argv: readonly Uint8Array[]): Reply {
    const [name, key] = [nameOf(argv[0]!), nameOf(argv[1]!)];
    const before = this.values.get(key)?.value;
    const put = (value: Buffer) => void this.values.set(key, { value, version: this.#version });
    switch (name) {
      case 'GET':
        return before ?? null;
      case 'SET':
        put(Buffer.from(argv[2]!));
        return 'OK';
      case 'APPEND':
        put(Buffer.concat([before ?? Buffer.alloc(0), argv[2]!]));
        return 0;
      case 'INCR': {
        const count = Number(before ?? 0) + 1;
        put(Buffer.from(String(count)));
        return count;
      }
      case 'EXISTS':
        return argv.slice(1).filter((each) => this.values.has(nameOf(each))).length;
      case 'DEL':
        return argv.slice(1).filter((each) => this.values.delete(nameOf(each))).length;
      default:
        throw new Error(`no such command: ${name}`);
    }
  }

  /** So much time. */
  async pass(ms: number): Promise<void> {
    for (const endMs = this.nowMs + ms; ; ) {
      await new Promise((resolve) => setImmediate(resolve));
      const next = this.#timers.sort((a, b) => a.atMs - b.atMs || a.order - b.order)[0];
      if (next === undefined || next.atMs > endMs) {
        this.nowMs = endMs;
        return;
      }
      this.#timers.shift();
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.run();
    }
  }

  /** The answer, when it comes within that time. */
  async ask(to: Coordination, from: number, question: Question, ms = 100): Promise<Answer | undefined> {
    let answer: Answer | undefined;
    void to.answer(from, question).then((told) => {
      answer = told;
    });
    await this.pass(ms);
    return answer;
  }
}

function nameOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}

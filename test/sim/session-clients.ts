/**
 * Clients with a session of their own (HSTORE.DO): whatever becomes of a write, they send it again, to whatever server,
 * until it is answered. Then it has happened exactly once; or its session is over, and it never will from then on.
 */
import { assert } from '../../src/lib/assert.ts';
import { ErrorReply, type Reply } from '../../src/resp/reply.ts';
import { call, History, outcomeOf, type SwarmClient, textOf } from './calls.ts';
import type { Cluster } from './cluster.ts';
import type { KeyOp } from './kv-models.ts';
import type { SimRandom } from './random.ts';

/** Nobody but clients of this kind writes them, and by APPEND alone. */
const KEYS = ['s0', 's1'];

interface Write {
  readonly key: string;
  readonly token: string;
  readonly seq: number;
  readonly callMs: number;
  sent: number;
  settled: boolean;
}

export class SessionClient implements SwarmClient {
  readonly history: History<KeyOp>;
  readonly #id: number;
  readonly #cluster: Cluster;
  readonly #random: SimRandom;
  readonly #pauseMeanMs: number;
  readonly #untilMs: number;
  #session: string | undefined;
  #seq = 0;
  #token = 0;
  /** By key, in the order of their writing. */
  readonly #written = new Map<string, string[]>(KEYS.map((key) => [key, []]));
  /** What the session's end left open, and whether it was there when the client had heard of the end. */
  readonly #leftOpen: { readonly key: string; readonly token: string; readonly present: boolean }[] = [];
  done = false;
  expired = 0;

  constructor(cluster: Cluster, id: number, work: { untilMs: number; pauseMeanMs: number }) {
    this.#cluster = cluster;
    this.#id = id;
    this.history = new History(cluster, id);
    this.#random = cluster.random.split();
    this.#untilMs = work.untilMs;
    this.#pauseMeanMs = work.pauseMeanMs;
    this.#later(() => this.#next());
  }

  get operations(): number {
    return this.history.operations.length;
  }

  get unknown(): number {
    return this.history.unknown;
  }

  #later(run: () => void): void {
    this.#cluster.scheduler.after(this.#random.exponential(this.#pauseMeanMs), undefined, run);
  }

  #next(): void {
    if (this.#cluster.scheduler.nowMs > this.#untilMs) return this.#check([...KEYS]);
    if (this.#session === undefined) return this.#open();
    if (this.#random.chance(0.02)) return this.#close(this.#session);
    const token = `${this.#id}/${this.#token++};`;
    const { nowMs } = this.#cluster.scheduler;
    const key = this.#random.pick(KEYS);
    this.#send({ key, token, seq: ++this.#seq, callMs: nowMs, sent: 0, settled: false });
  }

  #ask(argv: readonly string[], done: (reply: Reply | undefined) => void): void {
    call(this.#cluster, this.#random.pick(this.#cluster.servers), { kind: 'command', argv }, done);
  }

  /** A session that was opened and never heard of is nobody's, and ends by itself. */
  #open(): void {
    this.#ask(['HSTORE.SESSION', 'OPEN'], (reply) => {
      if (outcomeOf(reply) === 'replied') {
        this.#session = String(reply);
        this.#seq = 0;
      }
      this.#later(() => this.#next());
    });
  }

  /** And goes on as if it had not. */
  #close(session: string): void {
    this.#ask(['HSTORE.SESSION', 'CLOSE', session], () => this.#later(() => this.#next()));
  }

  #send(write: Write): void {
    const { seq, key, token } = write;
    const argv = ['HSTORE.DO', this.#session!, `${seq}`, `${seq - 1}`, 'APPEND', key, token];
    write.sent++;
    // An impatient one sends it to two servers at once.
    if (this.#random.chance(0.1)) {
      write.sent++;
      this.#ask(argv, (reply) => this.#answered(write, argv, reply));
    }
    this.#ask(argv, (reply) => {
      if (outcomeOf(reply) === 'replied') this.#answered(write, argv, reply);
      else if (!write.settled) this.#later(() => !write.settled && this.#send(write));
    });
  }

  #answered(write: Write, argv: readonly string[], reply: Reply | undefined): void {
    if (write.settled || outcomeOf(reply) !== 'replied') return;
    write.settled = true;
    if (reply instanceof ErrorReply) return this.#ended(write, reply);
    const { key, token, callMs } = write;
    this.#written.get(key)!.push(token);
    this.history.enter(callMs, { name: 'APPEND', key, value: token, reply: reply as number });
    if (this.#random.chance(0.2)) this.#askAgain(argv, reply as number);
    else this.#later(() => this.#next());
  }

  #askAgain(argv: readonly string[], first: number): void {
    this.#ask(argv, (reply) => {
      const over = reply instanceof ErrorReply && reply.code === 'SESSIONEXPIRED';
      if (outcomeOf(reply) === 'replied' && !over) {
        assert(
          reply === first,
          'a write that is sent again gives its first reply',
          argv.join(' '),
          String(reply),
          first,
        );
      }
      this.#later(() => this.#next());
    });
  }

  /** What was sent once and refused has not happened; else it may have before the session ended, and never after. */
  #ended(write: Write, { code, message }: ErrorReply): void {
    assert(
      code === 'SESSIONEXPIRED',
      'a client that keeps the rules is only told that its session is over',
      code,
      message,
    );
    this.expired++;
    this.#session = undefined;
    if (write.sent === 1) return this.#later(() => this.#next());
    const { key, token, callMs } = write;
    this.history.enterUnknown(callMs, { name: 'APPEND', key, value: token, reply: undefined });
    this.#read(key, (value) => {
      this.#leftOpen.push({ key, token, present: value.includes(token) });
      this.#later(() => this.#next());
    });
  }

  #read(key: string, then: (value: string) => void): void {
    this.#ask(['GET', key], (reply) => {
      if (outcomeOf(reply) === 'replied') then(textOf(reply!) ?? '');
      else this.#later(() => this.#read(key, then));
    });
  }

  #check([key, ...others]: string[]): void {
    if (key === undefined) {
      this.done = true;
      return;
    }
    this.#read(key, (value) => {
      let last = -1;
      for (const token of this.#written.get(key)!) {
        const at = value.indexOf(token);
        assert(at > last, 'what was answered is there, in its order', token, at, last);
        assert(value.lastIndexOf(token) === at, 'what was answered has happened once', token);
        last = at;
      }
      for (const { token, present, key: where } of this.#leftOpen) {
        if (where !== key) continue;
        assert(
          value.includes(token) === present,
          'what a session left open never happens later',
          token,
          present,
        );
      }
      this.#check(others);
    });
  }
}

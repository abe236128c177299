/**
 * Clients with a session of their own (HSTORE.DO): whatever becomes of a write, they send it again, to whatever server,
 * until it is answered. Then it has happened exactly once; or its session is over, and it never will from then on.
 */
import { assert } from '../../src/lib/assert.ts';
import { fromLatin1 } from '../../src/lib/bytes.ts';
import { ErrorReply, type Reply } from '../../src/resp/reply.ts';
import { call, History, outcomeOf, type Request, type SwarmClient, textOf } from './calls.ts';
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
  /** HSTORE.DO ... EXEC. */
  readonly inTransaction: boolean;
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
    this.#send({
      key,
      token,
      seq: ++this.#seq,
      callMs: nowMs,
      inTransaction: this.#random.chance(0.3),
      sent: 0,
      settled: false,
    });
  }

  #ask(argv: readonly string[], done: (reply: Reply | undefined) => void): void {
    this.#request({ kind: 'command', argv }, done);
  }

  #request(request: Request, done: (reply: Reply | undefined) => void): void {
    call(this.#cluster, this.#random.pick(this.#cluster.serving), request, done);
  }

  #requestOf({ seq, key, token, inTransaction }: Write): Request {
    const [session, ack] = [this.#session!, seq - 1];
    const append = ['APPEND', key, token];
    if (!inTransaction)
      return { kind: 'command', argv: ['HSTORE.DO', session, `${seq}`, `${ack}`, ...append] };
    const commands = [{ db: 0, argv: append.map(fromLatin1) }];
    const number = { session: Number(session), seq, ack };
    return { kind: 'transaction', transaction: { once: number, watched: [], commands } };
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
    const request = this.#requestOf(write);
    write.sent++;
    // An impatient one sends it to two servers at once.
    if (this.#random.chance(0.1)) {
      write.sent++;
      this.#request(request, (reply) => this.#answered(write, request, reply));
    }
    this.#request(request, (reply) => {
      if (outcomeOf(reply) === 'replied') this.#answered(write, request, reply);
      else if (!write.settled) this.#later(() => !write.settled && this.#send(write));
    });
  }

  #answered(write: Write, request: Request, reply: Reply | undefined): void {
    if (write.settled || outcomeOf(reply) !== 'replied') return;
    write.settled = true;
    if (reply instanceof ErrorReply) return this.#ended(write, reply);
    const { key, token, callMs } = write;
    this.#written.get(key)!.push(token);
    const length = lengthOf(reply!);
    this.history.enter(callMs, { name: 'APPEND', key, value: token, reply: length });
    if (this.#random.chance(0.2)) this.#askAgain(request, length);
    else this.#later(() => this.#next());
  }

  #askAgain(request: Request, first: number): void {
    this.#request(request, (reply) => {
      const over = reply instanceof ErrorReply && reply.code === 'SESSIONEXPIRED';
      if (outcomeOf(reply) === 'replied' && !over) {
        const again = lengthOf(reply!);
        assert(again === first, 'a write that is sent again gives its first reply', again, first);
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

/** What APPEND gives, alone or in a transaction. */
function lengthOf(reply: Reply): number {
  return (Array.isArray(reply) ? reply[0] : reply) as number;
}

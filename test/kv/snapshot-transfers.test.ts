/**
 * Snapshots of random histories, over transfers that break: each end may lose its memory at any moment, the sender may
 * have gone on and offer another snapshot. In the end the receiver is the sender's equal, and behaves so.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { SnapshotReader } from '../../src/kv/snapshot-reader.ts';
import type { SnapshotWriter } from '../../src/kv/snapshot-writer.ts';
import { LogScript, once } from './log-script.ts';
import type { MemoryStore } from './memory-store.ts';
import { commandIn, type Op, Replica } from './replica.ts';
import { entriesUnder, finish, flip, nextChunk, openWriter, readerOf, write } from './snapshots.ts';

const key = fc.nat(15).map((n) => `key${n}`);
const words = (name: string, ...parts: fc.Arbitrary<string>[]): fc.Arbitrary<Op> =>
  fc.tuple(fc.constantFrom(0, 0, 1, 7), ...parts).map(([db, ...rest]) => commandIn(db, name, ...rest));
const word = fc.constant<string>;
const value = fc.string({ unit: 'binary-ascii', maxLength: 30 });
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 8, arbitrary: words('SET', key, value) },
  { weight: 3, arbitrary: words('SET', key, value, word('PX'), fc.constantFrom('5', '40', '9000')) },
  { weight: 2, arbitrary: words('PEXPIRE', key, fc.constantFrom('20', '40')) },
  { weight: 3, arbitrary: words('SETRANGE', key, fc.constantFrom('100000', '300000', '700000'), value) },
  { weight: 2, arbitrary: words('DEL', key) },
  { weight: 1, arbitrary: words('SWAPDB', fc.constantFrom('0', '1'), fc.constantFrom('1', '7')) },
  { weight: 1, arbitrary: words('FLUSHDB') },
  { weight: 1, arbitrary: words('HSTORE.SESSION', word('OPEN')) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.constantFrom('2', '3', '5'), fc.integer({ min: 1, max: 9 }), fc.constantFrom(0, 0, 2), key)
      .map(([session, seq, ack, name]) => once(session, seq, ack, 'INCR', name)),
  },
);

type Event =
  | { readonly do: 'chunk' }
  /** Of the receiver: what was under way may have been done. */
  | { readonly do: 'crash'; readonly done: number }
  | { readonly do: 'reopen' }
  | { readonly do: 'fail' }
  /** The sender has lost its view, and has gone on. */
  | { readonly do: 'renew'; readonly ops: readonly Op[] };

const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 9, arbitrary: fc.constant<Event>({ do: 'chunk' }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('crash' as const), done: fc.nat(1) }) },
  { weight: 1, arbitrary: fc.constantFrom<Event>({ do: 'reopen' }, { do: 'fail' }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('renew' as const), ops: fc.array(op, { maxLength: 4 }) }),
  },
);

class Transfer {
  readonly script: LogScript;
  to: MemoryStore;
  reader!: SnapshotReader;
  writer!: SnapshotWriter;
  hash = '';
  #id = 0;

  constructor(script: LogScript, to: MemoryStore) {
    this.script = script;
    this.to = to;
    this.renew([]);
  }

  renew(ops: readonly Op[]): void {
    const { script } = this;
    for (const each of ops) script.run(each);
    script.replica.checkpoint();
    for (const range of script.replica.machine.takeGarbage())
      script.replica.store.clear(range, () => undefined);
    script.replica.store.drain();
    this.hash = script.hash;
    this.reader = readerOf(script.replica.store);
    this.#id++;
    this.open();
  }

  open(): void {
    const id = new Uint8Array(16).fill(this.#id);
    this.writer = openWriter(this.to, { id, header: this.reader.header });
    this.reader.seek(this.writer.resumeAfter);
  }

  /** Whether it was the last. */
  chunk(): boolean {
    const chunk = nextChunk(this.script.replica.store, this.reader);
    if (chunk === undefined) return true;
    write(this.to, this.writer, chunk);
    return false;
  }

  act(what: Event): void {
    if (what.do === 'renew') this.renew(what.ops);
    else if (what.do === 'reopen') this.open();
    else if (what.do === 'crash') {
      const chunk = nextChunk(this.script.replica.store, this.reader);
      if (chunk !== undefined) this.writer.write(chunk, () => undefined);
      this.to = this.to.crash(what.done);
      this.open();
    } else if (what.do === 'fail') {
      this.to.failWrites = 1;
      const chunk = nextChunk(this.script.replica.store, this.reader);
      if (chunk !== undefined) expect(() => write(this.to, this.writer, chunk)).toThrow('write failed');
      this.to.failWrites = 0;
      this.open();
    } else this.chunk();
  }

  complete(): void {
    while (!this.chunk());
    expect(this.writer.receivedEntries).toBe(this.writer.totalEntries);
    finish(this.to, this.writer);
    flip(this.to, this.writer);
  }
}

function dueNames(replica: Replica, nowMs: number): string[] {
  let found: string[] | undefined;
  replica.machine.findDue(nowMs, 1000, (places) => {
    found = places.map(({ db, name }) => `${db} ${name}`).sort();
  });
  while (found === undefined && replica.store.turn());
  return found!;
}

test('a receiver becomes the equal of its sender, whatever breaks on the way', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(op, { minLength: 1, maxLength: 40 }),
      fc.array(op, { maxLength: 10 }),
      fc.array(event, { maxLength: 25 }),
      async (ops, own, events) => {
        const script = new LogScript({ memoryBytesMax: 1 << 22 });
        script.openSession();
        for (const each of ops) script.run(each);
        const old = new LogScript();
        for (const each of own) old.run(each);
        old.replica.checkpoint();
        const transfer = new Transfer(script, old.replica.store);
        for (const each of events) transfer.act(each);
        transfer.complete();

        const receiver = new Replica({}, transfer.to);
        await receiver.restart();
        const { machine } = receiver;
        expect(machine.stateHash()).toBe(transfer.hash);
        expect(machine.generation).toBe(1);
        for (const range of machine.takeGarbage()) receiver.store.clear(range, () => undefined);
        receiver.store.drain();
        const values = (store: MemoryStore) =>
          [...entriesUnder(store, 'd')].map(([name, bytes]) => `${name.slice(18)}=${bytes}`);
        expect(values(receiver.store)).toEqual(values(script.replica.store));
        await script.replica.restart();
        for (const nowMs of [script.nowMs + 6, script.nowMs + 41, script.nowMs + 99_999]) {
          expect(dueNames(receiver, nowMs)).toEqual(dueNames(script.replica, nowMs));
        }
        script.nowMs += 50;
        script.run(commandIn(0, 'APPEND', 'key1', '!'), once('2', 5, 0, 'INCR', 'key2'));
        receiver.apply(script.entries.slice(machine.appliedIndex));
        expect(machine.stateHash()).toBe(script.hash);
      },
    ),
    { numRuns: 150 },
  );
});

import { expect, test } from 'vitest';
import { encodeAdvanceOp, encodeRun } from '../../src/kv/batch.ts';
import { EntryCursor } from '../../src/kv/entry-cursor.ts';
import { ByteWriter } from '../../src/lib/bytes.ts';
import { Proposer } from '../../src/server/proposer.ts';

/** A leader whose clocks are set by hand, and what it has proposed. */
function leader(options: { accepting?: () => boolean } = {}) {
  const time = { monotonicMs: 0, wallMs: 1_000_000 };
  const entries: Uint8Array[] = [];
  const proposer = new Proposer({
    clock: {
      monotonicMs: () => time.monotonicMs,
      wallMs: () => time.wallMs,
      after: () => ({ cancel: () => {} }),
      endOfTurn: () => {},
    },
    propose: (data) => {
      if (options.accepting?.() === false) return { accepted: false, reason: 'full' };
      entries.push(data);
      return { accepted: true, index: entries.length, term: 1 };
    },
    isLeader: () => true,
    appliedIndex: () => entries.length,
    logTimeMs: () => 900_000,
    accepts: () => true,
  });
  const stamp = () => {
    proposer.offer(run(1));
    proposer.flush();
    const cursor = new EntryCursor();
    cursor.open(entries.at(-1)!);
    return cursor.atMs;
  };
  return { proposer, time, entries, stamp };
}

let lastSeq = 0;

/** The next of a session. */
function run(bytes: number): Uint8Array {
  const op = new ByteWriter();
  encodeAdvanceOp(op);
  const out = new ByteWriter();
  encodeRun(out, { session: 7, firstSeq: ++lastSeq, count: 1, ops: op.view() });
  const padded = new Uint8Array(Math.max(bytes, out.length));
  padded.set(out.view());
  return bytes > out.length ? padded : out.copy();
}

test('the time of entries is the wall clock, and goes on at the pace of the monotonic clock where that is behind', () => {
  const { time, stamp } = leader();
  expect(stamp()).toBe(1_000_000);
  time.monotonicMs = 500;
  time.wallMs = 1_000_500;
  expect(stamp()).toBe(1_000_500);
  // Set back by an hour: the log's time neither goes back nor stands still.
  time.wallMs -= 3_600_000;
  for (let i = 1; i <= 5000; i++) {
    time.monotonicMs += 0.1;
    time.wallMs += 0.1;
    expect(stamp()).toBe(1_000_500 + Math.floor(i * 0.1 + 1e-6));
  }
});

test('a new leader whose clock is behind the log goes on from the log', () => {
  const { time, stamp } = leader();
  time.wallMs = 100_000;
  expect(stamp()).toBe(900_000);
  time.monotonicMs += 1000;
  expect(stamp()).toBe(901_000);
});

test('runs that cannot be proposed are kept up to a bound, and ignored beyond it', () => {
  let accepting = false;
  const { proposer, entries } = leader({ accepting: () => accepting });
  for (let i = 0; i < 1000; i++) {
    proposer.offer(run(128 << 10));
    proposer.flush();
  }
  accepting = true;
  for (let i = 0; i < 1000; i++) proposer.flush();
  const bytes = entries.reduce((sum, entry) => sum + entry.length, 0);
  expect(bytes).toBeGreaterThan(30 << 20);
  expect(bytes).toBeLessThan(34 << 20);
});

test('a run that comes again is not proposed again, unless the state machine has passed over it', () => {
  const { proposer, entries } = leader();
  const proposed = (...runs: Uint8Array[]) => {
    const before = entries.length;
    for (const each of runs) {
      proposer.offer(each);
      proposer.flush();
    }
    return entries.length - before;
  };
  const [first, second] = [run(1), run(1)];
  expect(proposed(first, second)).toBe(2);
  expect(proposed(first, second, first)).toBe(0);
  // An earlier entry was lost: both were passed over.
  proposer.gap(7, lastSeq - 1);
  expect(proposed(first, second, second)).toBe(2);
  proposer.gap(7, lastSeq);
  expect(proposed(first, second)).toBe(1);
  // Out of order: the later one has been taken, the earlier one not.
  const [third, fourth] = [run(1), run(1)];
  expect(proposed(fourth, third, fourth)).toBe(3);
  // What another leader has taken is not known here.
  proposer.drop();
  expect(proposed(first)).toBe(1);
});

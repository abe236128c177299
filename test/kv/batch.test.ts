import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ADVANCE,
  COMMAND,
  encodeEntry,
  NO_SESSION,
  OPEN_SESSION,
  runHeader,
  SKIP,
  validateRun,
} from '../../src/kv/batch.ts';
import { EntryCursor } from '../../src/kv/entry-cursor.ts';
import { accepts } from '../../src/kv/table.ts';
import { AssertionError } from '../../src/lib/assert.ts';
import { latin1 } from '../../src/lib/bytes.ts';
import { command, OPEN, type Op, type Run, runOf } from './replica.ts';

const bigNumber = fc.maxSafeNat().map((n) => Math.max(1, n - 10));
const text = fc.string({ unit: 'binary', maxLength: 12 }).map((s) => Buffer.from(s).toString('latin1'));

const numberedOp: fc.Arbitrary<Op> = fc.oneof(
  fc.record({
    kind: fc.constant('command' as const),
    db: fc.nat(15),
    argv: fc.array(text, { minLength: 1, maxLength: 4 }),
  }),
  fc.record({ kind: fc.constantFrom('skip' as const, 'advance' as const) }),
);
const anyRun: fc.Arbitrary<Run> = fc.oneof(
  fc.record({
    session: bigNumber,
    firstSeq: bigNumber,
    ops: fc.array(numberedOp, { minLength: 1, maxLength: 5 }),
  }),
  fc.record({
    session: fc.constant(NO_SESSION),
    firstSeq: fc.constant(0),
    ops: fc.array(fc.record({ kind: fc.constant('open' as const), nonce: fc.maxSafeNat() }), {
      minLength: 1,
      maxLength: 3,
    }),
  }),
);

function decode(entry: Uint8Array): { atMs: number; runs: Run[] } {
  const cursor = new EntryCursor();
  cursor.open(entry);
  const runs: Run[] = [];
  while (cursor.nextRun()) {
    const ops: Op[] = [];
    const { session, firstSeq } = cursor;
    for (let seq = firstSeq; cursor.nextOp(); seq++) {
      if (session !== NO_SESSION) expect(cursor.seq).toBe(seq);
      ops.push(opOf(cursor));
    }
    runs.push({ session, firstSeq, ops });
  }
  return { atMs: cursor.atMs, runs };
}

function opOf(cursor: EntryCursor): Op {
  if (cursor.kind === SKIP) return { kind: 'skip' };
  if (cursor.kind === ADVANCE) return { kind: 'advance' };
  if (cursor.kind === OPEN_SESSION) return { kind: 'open', nonce: cursor.nonce };
  expect(cursor.kind).toBe(COMMAND);
  const argv = Array.from({ length: cursor.argc }, (_, i) => latin1(cursor.arg(i)));
  expect(argv).toEqual(argv.map((_, i) => cursor.argLatin1(i)));
  return { kind: 'command', db: cursor.db, argv };
}

const SAMPLE = runOf({
  session: 5,
  firstSeq: 9,
  ops: [command('SET', 'key', 'value'), { kind: 'skip' }, { kind: 'advance' }, command('DEL', 'a', '')],
});

describe('an entry', () => {
  test('is decoded to what was encoded', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.array(anyRun, { maxLength: 4 }), (atMs, runs) => {
        const encoded = runs.map(runOf);
        expect(decode(encodeEntry(atMs, encoded))).toEqual({ atMs, runs });
        for (const [i, run] of encoded.entries()) {
          expect(validateRun(run)).toBe(true);
          expect(runHeader(run)).toEqual({
            session: runs[i]!.session,
            firstSeq: runs[i]!.firstSeq,
            count: runs[i]!.ops.length,
          });
        }
      }),
    );
  });

  test('cut off at any byte is an assertion, but between two runs', () => {
    const entry = encodeEntry(1, [SAMPLE, SAMPLE]);
    const whole = [9, 9 + SAMPLE.length, entry.length];
    for (let length = 0; length <= entry.length; length++) {
      const cut = (): unknown => decode(entry.subarray(0, length));
      if (whole.includes(length)) cut();
      else expect(cut, String(length)).toThrow(AssertionError);
    }
  });

  test('whose run was passed over goes on with the next run', () => {
    const cursor = new EntryCursor();
    cursor.open(encodeEntry(1, [SAMPLE, runOf(OPEN)]));
    cursor.nextRun();
    cursor.nextOp();
    cursor.skipRun();
    expect(cursor.nextOp()).toBe(false);
    expect(cursor.nextRun()).toBe(true);
    expect([cursor.nextOp(), cursor.kind, cursor.nonce]).toEqual([true, OPEN_SESSION, 7]);
  });
});

describe('a run from a peer', () => {
  test('cut off at any byte is refused, and so is one with a byte too many', () => {
    for (let length = 0; length < SAMPLE.length; length++) {
      expect(validateRun(SAMPLE.subarray(0, length)), String(length)).toBe(false);
    }
    expect(validateRun(Buffer.concat([SAMPLE, Buffer.alloc(1)]))).toBe(false);
  });

  test('that is accepted can be applied, whichever of its bytes is changed', () => {
    for (let at = 0; at < SAMPLE.length; at++) {
      for (const flip of [1, 2, 4, 0x80, 0xff]) {
        const changed = Uint8Array.from(SAMPLE);
        changed[at]! ^= flip;
        if (validateRun(changed)) decode(encodeEntry(1, [changed]));
      }
    }
  });

  test.each([
    ['a command without a session', { session: 0, firstSeq: 0, ops: [command('SET', 'a', 'b')] }],
    ['a skip without a session', { session: 0, firstSeq: 0, ops: [{ kind: 'skip' }] }],
    ['a session opened in a session', { session: 3, firstSeq: 1, ops: [{ kind: 'open', nonce: 1 }] }],
    ['a sequence that begins with 0', { session: 3, firstSeq: 0, ops: [{ kind: 'skip' }] }],
  ] as const)('with %s is refused', (_, run) => {
    expect(validateRun(runOf(run))).toBe(false);
  });

  test.each([
    [command('NOSUCH', 'a'), false],
    [command('GET', 'a'), false],
    [command('SET', 'a'), false],
    [command('INCR', 'a', 'b'), false],
    [command('sEt', 'a', 'b'), true],
    [command('DEL', 'a', 'b', 'c'), true],
  ] as const)('holds write commands that exist, with the arguments they need: %j is %s', (op, valid) => {
    expect(validateRun(runOf({ session: 3, firstSeq: 1, ops: [op] }), accepts)).toBe(valid);
  });
});

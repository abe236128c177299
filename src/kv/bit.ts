/**
 * Redis's group "bitmap": strings as rows of bits. GETBIT, SETBIT, BITCOUNT, BITPOS and BITOP; whole numbers inside of
 * strings are in bitfield.ts.
 *
 * After bitops.c of Redis 7.0, in the order of its checks too: what is wrong is found before or after a key is missed.
 */
import { latin1 } from '../lib/bytes.ts';
import { ErrorReply, type Reply } from '../resp/reply.ts';
import { bitfieldCommands, parseBitOffset } from './bitfield.ts';
import { type BitOperation, bitCount, combine, countBits, findOtherByte } from './bitmap.ts';
import {
  type CommandArgument,
  type Database,
  NEVER,
  type ReadCommand,
  type WriteCommand,
} from './command.ts';
import { NOT_AN_INTEGER, SYNTAX_ERROR } from './errors.ts';
import { parseInteger } from './integer.ts';

const NOT_A_BIT = new ErrorReply('ERR', 'bit is not an integer or out of range');
const NEITHER_BIT = new ErrorReply('ERR', 'The bit argument must be 1 or 0.');
const NOT_OF_ONE = new ErrorReply('ERR', 'BITOP NOT must be called with a single source key.');
const NOTHING = new Uint8Array(0);
const ALL = 0xff;

/** The mask of a bit in its byte. */
function maskOf(offset: number): number {
  return 0x80 >> (offset % 8);
}

function getBit(db: Database, argv: readonly Uint8Array[]): Reply {
  const offset = parseBitOffset(argv[2]!, db.stringBytesMax);
  if (offset instanceof ErrorReply) return offset;
  const byte = db.get(argv[1]!)?.bytes[Math.floor(offset / 8)] ?? 0;
  return (byte & maskOf(offset)) === 0 ? 0 : 1;
}

/** The time to live stays. What changes nothing is no write: a WATCH does not see it. */
function setBit(db: Database, argv: readonly Uint8Array[]): Reply {
  const offset = parseBitOffset(argv[2]!, db.stringBytesMax);
  if (offset instanceof ErrorReply) return offset;
  const bit = parseInteger(argv[3]!);
  if (bit !== 0 && bit !== 1) return NOT_A_BIT;
  const old = db.get(argv[1]!);
  const before = old?.bytes ?? NOTHING;
  const at = Math.floor(offset / 8);
  const byte = before[at] ?? 0;
  const mask = maskOf(offset);
  const oldBit = (byte & mask) === 0 ? 0 : 1;
  if (oldBit === bit && at < before.length && old?.raw === true) return oldBit;
  const bytes = new Uint8Array(Math.max(before.length, at + 1));
  bytes.set(before);
  bytes[at] = bit === 1 ? byte | mask : byte & ~mask;
  db.set(argv[1]!, { type: 'string', bytes, expireAtMs: old?.expireAtMs ?? NEVER, raw: true });
  return oldBit;
}

type Unit = 'bit' | 'byte';

/** Both bits included; empty when they are crossed. */
interface BitRange {
  readonly first: number;
  readonly last: number;
}

/** No unit means bytes. */
function parseUnit(arg: Uint8Array | undefined): Unit | undefined {
  const word = arg === undefined ? 'byte' : latin1(arg).toLowerCase();
  return word === 'bit' || word === 'byte' ? word : undefined;
}

/** From start to end, both included; negative ones count from the end of the `length` bytes. */
function rangeIn(length: number, start: number, end: number, unit: Unit): BitRange {
  const total = unit === 'bit' ? length * 8 : length;
  const first = Math.max(0, start < 0 ? total + start : start);
  const last = Math.min(total - 1, Math.max(0, end < 0 ? total + end : end));
  return unit === 'bit' ? { first, last } : { first: first * 8, last: last * 8 + 7 };
}

/** The bits of the first byte of a range that belong to it, and those of the last. */
function edgeMasks({ first, last }: BitRange): { head: number; tail: number } {
  return { head: ALL >> (first % 8), tail: (ALL << (7 - (last % 8))) & ALL };
}

function countIn(bytes: Uint8Array, range: BitRange): number {
  if (range.first > range.last) return 0;
  const from = Math.floor(range.first / 8);
  const to = Math.floor(range.last / 8);
  const { head, tail } = edgeMasks(range);
  const outside = bitCount(bytes[from]! & ~head & ALL) + bitCount(bytes[to]! & ~tail & ALL);
  return countBits(bytes.subarray(from, to + 1)) - outside;
}

function bitCountCommand(db: Database, argv: readonly Uint8Array[]): Reply {
  const bytes = db.get(argv[1]!)?.bytes;
  if (bytes === undefined) return 0;
  if (argv.length === 2) return countBits(bytes);
  if (argv.length > 5 || argv.length === 3) return SYNTAX_ERROR;
  const start = parseInteger(argv[2]!);
  const end = parseInteger(argv[3]!);
  if (start === undefined || end === undefined) return NOT_AN_INTEGER;
  if (start < 0 && end < 0 && start > end) return 0;
  const unit = parseUnit(argv[4]);
  return unit === undefined
    ? SYNTAX_ERROR
    : countIn(bytes, rangeIn(bytes.length, Number(start), Number(end), unit));
}

/** -1 when there is none. */
function findBit(bytes: Uint8Array, bit: number, range: BitRange): number {
  if (range.first > range.last) return -1;
  const to = Math.floor(range.last / 8);
  const { head, tail } = edgeMasks(range);
  /** Ones where the bits are that are looked for. */
  const wanted = (at: number): number => (bit === 1 ? bytes[at]! : ~bytes[at]!) & (at === to ? tail : ALL);
  let at = Math.floor(range.first / 8);
  let found = wanted(at) & head;
  if (found === 0 && at < to) {
    at = Math.min(findOtherByte(bytes, bit === 1 ? 0 : ALL, at + 1, to + 1), to);
    found = wanted(at);
  }
  return found === 0 ? -1 : at * 8 + Math.clz32(found) - 24;
}

function bitPosition(db: Database, argv: readonly Uint8Array[]): Reply {
  const bit = parseInteger(argv[2]!);
  if (bit === undefined) return NOT_AN_INTEGER;
  if (bit !== 0 && bit !== 1) return NEITHER_BIT;
  const bytes = db.get(argv[1]!)?.bytes;
  if (bytes === undefined) return bit === 1 ? -1 : 0;
  if (argv.length > 6) return SYNTAX_ERROR;
  const start = argv.length > 3 ? parseInteger(argv[3]!) : 0;
  if (start === undefined) return NOT_AN_INTEGER;
  const unit = parseUnit(argv[5]);
  if (unit === undefined) return SYNTAX_ERROR;
  const end = argv.length > 4 ? parseInteger(argv[4]!) : -1;
  if (end === undefined) return NOT_AN_INTEGER;
  const range = rangeIn(bytes.length, Number(start), Number(end), unit);
  const found = findBit(bytes, bit, range);
  // Without an end the string goes on with zeros; an empty range has no bits at all.
  const goesOn = bit === 0 && argv.length < 5 && range.first <= range.last;
  return found === -1 && goesOn ? bytes.length * 8 : found;
}

function parseOperation(argv: readonly Uint8Array[]): BitOperation | ErrorReply {
  const word = latin1(argv[1]!).toLowerCase();
  if (word === 'not') return argv.length === 4 ? word : NOT_OF_ONE;
  return word === 'and' || word === 'or' || word === 'xor' ? word : SYNTAX_ERROR;
}

function checkOperation(argv: readonly Uint8Array[]): Reply | undefined {
  const operation = parseOperation(argv);
  return operation instanceof ErrorReply ? operation : undefined;
}

/** An empty result deletes the destination. */
function bitOperation(db: Database, argv: readonly Uint8Array[]): Reply {
  const operation = parseOperation(argv);
  if (operation instanceof ErrorReply) return operation;
  const sources = argv.slice(3).map((key) => db.get(key)?.bytes ?? NOTHING);
  const bytes = combine(operation, sources);
  if (bytes.length === 0) db.delete(argv[2]!);
  else db.set(argv[2]!, { type: 'string', bytes, expireAtMs: NEVER, raw: true });
  return bytes.length;
}

const KEY: CommandArgument = { name: 'key', type: 'key' };
const OFFSET: CommandArgument = { name: 'offset', type: 'integer' };
const START: CommandArgument = { name: 'start', type: 'integer' };
const END: CommandArgument = { name: 'end', type: 'integer' };
const UNIT: CommandArgument = {
  name: 'index_unit',
  type: 'oneof',
  since: '7.0.0',
  flags: ['optional'],
  arguments: [
    { name: 'byte', type: 'pure-token', token: 'BYTE' },
    { name: 'bit', type: 'pure-token', token: 'BIT' },
  ],
};

const READ = {
  kind: 'read',
  flags: ['readonly'],
  keys: [1, 1, 1],
  keyFlags: ['RO', 'access'],
  group: 'bitmap',
  complexity: 'O(N)',
  categories: ['@read', '@bitmap', '@slow'],
} as const satisfies Partial<ReadCommand>;

const WRITE = {
  kind: 'write',
  flags: ['write', 'denyoom'],
  group: 'bitmap',
  categories: ['@write', '@bitmap', '@slow'],
} as const satisfies Partial<WriteCommand>;

/** BITCOUNT and BITPOS. */
const RANGED = {
  ...READ,
  history: [['7.0.0', 'Added the `BYTE|BIT` option.']],
} as const satisfies Partial<ReadCommand>;

export const bitCommands: readonly (ReadCommand | WriteCommand)[] = [
  {
    ...READ,
    name: 'getbit',
    arity: 3,
    flags: ['readonly', 'fast'],
    since: '2.2.0',
    summary: 'Returns the bit value at offset in the string value stored at key',
    complexity: 'O(1)',
    categories: ['@read', '@bitmap', '@fast'],
    arguments: [KEY, OFFSET],
    run: getBit,
  },
  {
    ...WRITE,
    name: 'setbit',
    arity: 4,
    keys: [1, 1, 1],
    keyFlags: ['RW', 'access', 'update'],
    since: '2.2.0',
    summary: 'Sets or clears the bit at offset in the string value stored at key',
    complexity: 'O(1)',
    arguments: [KEY, OFFSET, { name: 'value', type: 'integer' }],
    run: setBit,
  },
  {
    ...RANGED,
    name: 'bitcount',
    arity: -2,
    since: '2.6.0',
    summary: 'Count set bits in a string',
    arguments: [KEY, { name: 'index', type: 'block', flags: ['optional'], arguments: [START, END, UNIT] }],
    run: bitCountCommand,
  },
  {
    ...RANGED,
    name: 'bitpos',
    arity: -3,
    since: '2.8.7',
    summary: 'Find first bit set or clear in a string',
    arguments: [
      KEY,
      { name: 'bit', type: 'integer' },
      {
        name: 'index',
        type: 'block',
        flags: ['optional'],
        arguments: [START, { name: 'end_index', type: 'block', flags: ['optional'], arguments: [END, UNIT] }],
      },
    ],
    run: bitPosition,
  },
  {
    ...WRITE,
    name: 'bitop',
    arity: -4,
    keys: [2, -1, 1],
    keySpecs: [
      { at: [2, 2, 1], flags: ['OW', 'update'] },
      { at: [3, -1, 1], flags: ['RO', 'access'] },
    ],
    since: '2.6.0',
    summary: 'Perform bitwise operations between strings',
    complexity: 'O(N)',
    arguments: [
      { name: 'operation', type: 'string' },
      { name: 'destkey', type: 'key' },
      { ...KEY, keySpec: 1, flags: ['multiple'] },
    ],
    check: checkOperation,
    run: bitOperation,
  },
  ...bitfieldCommands,
];

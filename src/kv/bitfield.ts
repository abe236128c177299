/**
 * BITFIELD and BITFIELD_RO: whole numbers of 1 to 64 bits, anywhere in a string, read, written and added to.
 *
 * A field is cut out of the up to nine bytes in which it lies, as a BigInt, and put back in the same way:
 *
 *     offset 7, 5 bits    |00000001|01110000|    the number 23
 *                                ^^ ^^^^
 *
 * After bitops.c of Redis 7.0, `bitfieldGeneric`.
 */
import { bytesEqual, latin1 } from '../lib/bytes.ts';
import { ErrorReply, type Reply } from '../resp/reply.ts';
import {
  type CommandArgument,
  type Database,
  NEVER,
  type ReadCommand,
  type WriteCommand,
} from './command.ts';
import { NOT_AN_INTEGER, SYNTAX_ERROR } from './errors.ts';
import { narrow, parseInteger } from './integer.ts';

const NOT_A_BIT_OFFSET = new ErrorReply('ERR', 'bit offset is not an integer or out of range');
const INVALID_TYPE = new ErrorReply(
  'ERR',
  'Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.',
);
const INVALID_OVERFLOW = new ErrorReply('ERR', 'Invalid OVERFLOW type specified');
const ONLY_GET = new ErrorReply('ERR', 'BITFIELD_RO only supports the GET subcommand');
const NOTHING = new Uint8Array(0);
const HASH = 0x23;
const UNSIGNED_BITS_MAX = 63;
const SIGNED_BITS_MAX = 64;

interface FieldType {
  readonly signed: boolean;
  readonly bits: number;
}

interface Field extends FieldType {
  /** Of its highest bit. */
  readonly offset: number;
}

type Overflow = 'wrap' | 'sat' | 'fail';

interface Operation {
  readonly name: 'get' | 'set' | 'incrby';
  readonly field: Field;
  /** To set, or to add. */
  readonly operand: bigint;
  readonly overflow: Overflow;
}

/** `#n` is the n-th field of so many bits; `bits` 0 allows no such form. */
export function parseBitOffset(argument: Uint8Array, stringBytesMax: number, bits = 0): number | ErrorReply {
  const inFields = bits > 0 && argument[0] === HASH;
  const parsed = parseInteger(inFields ? argument.subarray(1) : argument);
  if (parsed === undefined || parsed < 0) return NOT_A_BIT_OFFSET;
  const offset = inFields ? Number(parsed) * bits : Number(parsed);
  return Math.floor(offset / 8) < stringBytesMax ? offset : NOT_A_BIT_OFFSET;
}

/** `i1` to `i64`, `u1` to `u63`. */
const TYPES = new Map<string, FieldType>();
for (let bits = 1; bits <= SIGNED_BITS_MAX; bits++) TYPES.set(`i${bits}`, { signed: true, bits });
for (let bits = 1; bits <= UNSIGNED_BITS_MAX; bits++) TYPES.set(`u${bits}`, { signed: false, bits });

function isOverflow(word: string): word is Overflow {
  return word === 'wrap' || word === 'sat' || word === 'fail';
}

/** An OVERFLOW holds for all that follow it. */
function parseOperations(argv: readonly Uint8Array[], stringBytesMax: number): Operation[] | ErrorReply {
  const operations: Operation[] = [];
  let overflow: Overflow = 'wrap';
  let i = 2;
  while (i < argv.length) {
    const name = latin1(argv[i]!).toLowerCase();
    const after = argv.length - i - 1;
    if (name === 'overflow' && after >= 1) {
      const word = latin1(argv[i + 1]!).toLowerCase();
      if (!isOverflow(word)) return INVALID_OVERFLOW;
      overflow = word;
      i += 2;
    } else if ((name === 'get' && after >= 2) || ((name === 'set' || name === 'incrby') && after >= 3)) {
      const field = parseField(argv[i + 1]!, argv[i + 2]!, stringBytesMax);
      if (field instanceof ErrorReply) return field;
      // What ends beyond the limit may be read, since it reads as zeros, but not written.
      const last = Math.floor((field.offset + field.bits - 1) / 8);
      if (name !== 'get' && last >= stringBytesMax) return NOT_A_BIT_OFFSET;
      const operand = name === 'get' ? 0 : parseInteger(argv[i + 3]!);
      if (operand === undefined) return NOT_AN_INTEGER;
      operations.push({ name, field, operand: BigInt(operand), overflow });
      i += name === 'get' ? 3 : 4;
    } else return SYNTAX_ERROR;
  }
  return operations;
}

function parseField(type: Uint8Array, offset: Uint8Array, stringBytesMax: number): Field | ErrorReply {
  // Up to a zero byte, as C reads it.
  const known = TYPES.get(latin1(type).split('\0', 1)[0]!);
  if (known === undefined) return INVALID_TYPE;
  const { signed, bits } = known;
  const parsedOffset = parseBitOffset(offset, stringBytesMax, bits);
  return parsedOffset instanceof ErrorReply ? parsedOffset : { signed, bits, offset: parsedOffset };
}

/** The bytes in which a field lies, as one number, and how many bits of it are behind the field. */
function windowOf(
  bytes: Uint8Array,
  { offset, bits }: Field,
): { window: bigint; from: number; to: number; behind: bigint } {
  const from = Math.floor(offset / 8);
  const to = Math.floor((offset + bits - 1) / 8);
  let window = 0n;
  for (let i = from; i <= to; i++) window = (window << 8n) | BigInt(bytes[i] ?? 0);
  return { window, from, to, behind: BigInt(7 - ((offset + bits - 1) % 8)) };
}

function readField(bytes: Uint8Array, field: Field): bigint {
  const { window, behind } = windowOf(bytes, field);
  return wrap(window >> behind, field);
}

function writeField(bytes: Uint8Array, field: Field, value: bigint): void {
  const { window, from, to, behind } = windowOf(bytes, field);
  const mask = ((1n << BigInt(field.bits)) - 1n) << behind;
  let changed = (window & ~mask) | ((value << behind) & mask);
  for (let i = to; i >= from; i--) {
    bytes[i] = Number(changed & 0xffn);
    changed >>= 8n;
  }
}

function wrap(value: bigint, { signed, bits }: FieldType): bigint {
  return signed ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value);
}

/** What is stored in place of a value that does not fit; undefined when nothing is. */
function clampTo(value: bigint, type: FieldType, overflow: Overflow): bigint | undefined {
  const wrapped = wrap(value, type);
  if (wrapped === value || overflow === 'wrap') return wrapped;
  if (overflow === 'fail') return undefined;
  const max = (1n << BigInt(type.signed ? type.bits - 1 : type.bits)) - 1n;
  const min = type.signed ? -max - 1n : 0n;
  return value > max ? max : min;
}

/** On bytes that are the caller's. */
function carryOut(bytes: Uint8Array, { name, field, operand, overflow }: Operation): Reply {
  const old = readField(bytes, field);
  if (name === 'get') return narrow(old);
  // A negative number to be set in an unsigned field counts as a very large one.
  const set = field.signed ? operand : BigInt.asUintN(64, operand);
  const value = clampTo(name === 'incrby' ? old + operand : set, field, overflow);
  if (value === undefined) return null;
  writeField(bytes, field, value);
  return narrow(name === 'incrby' ? value : old);
}

/** With a write among the operations the string is made long enough before the first of them, whatever they do. */
function bitfield(db: Database, argv: readonly Uint8Array[]): Reply {
  const operations = parseOperations(argv, db.stringBytesMax);
  if (operations instanceof ErrorReply) return operations;
  const old = db.get(argv[1]!);
  const before = old?.bytes ?? NOTHING;
  const writes = operations.filter(({ name }) => name !== 'get');
  if (writes.length === 0) return operations.map((operation) => carryOut(before, operation));
  const length = writes.reduce(
    (most, { field }) => Math.max(most, Math.floor((field.offset + field.bits - 1) / 8) + 1),
    before.length,
  );
  const bytes = new Uint8Array(length);
  bytes.set(before);
  const replies = operations.map((operation) => carryOut(bytes, operation));
  // What changes nothing is no write: a WATCH does not see it.
  if (old?.raw === true && bytesEqual(bytes, before)) return replies;
  db.set(argv[1]!, { type: 'string', bytes, expireAtMs: old?.expireAtMs ?? NEVER, raw: true });
  return replies;
}

function bitfieldReadOnly(db: Database, argv: readonly Uint8Array[]): Reply {
  const operations = parseOperations(argv, db.stringBytesMax);
  if (operations instanceof ErrorReply) return operations;
  if (operations.some(({ name }) => name !== 'get')) return ONLY_GET;
  const bytes = db.get(argv[1]!)?.bytes ?? NOTHING;
  return operations.map((operation) => carryOut(bytes, operation));
}

const KEY: CommandArgument = { name: 'key', type: 'key' };
const ENCODING: CommandArgument = { name: 'encoding', type: 'string' };
const OFFSET: CommandArgument = { name: 'offset', type: 'integer' };
const GET: CommandArgument = {
  name: 'encoding_offset',
  type: 'block',
  token: 'GET',
  arguments: [ENCODING, OFFSET],
};

function writeArgument(token: string, operand: string): CommandArgument {
  return {
    name: `encoding_offset_${operand}`,
    type: 'block',
    token,
    arguments: [ENCODING, OFFSET, { name: operand, type: 'integer' }],
  };
}

const WRITE: CommandArgument = {
  name: 'write',
  type: 'block',
  arguments: [
    {
      name: 'wrap_sat_fail',
      type: 'oneof',
      token: 'OVERFLOW',
      flags: ['optional'],
      arguments: [
        { name: 'wrap', type: 'pure-token', token: 'WRAP' },
        { name: 'sat', type: 'pure-token', token: 'SAT' },
        { name: 'fail', type: 'pure-token', token: 'FAIL' },
      ],
    },
    {
      name: 'write_operation',
      type: 'oneof',
      arguments: [writeArgument('SET', 'value'), writeArgument('INCRBY', 'increment')],
    },
  ],
};

const COMMON = {
  arity: -2,
  keys: [1, 1, 1],
  group: 'bitmap',
  complexity: 'O(1) for each subcommand specified',
} as const;

export const bitfieldCommands: readonly (ReadCommand | WriteCommand)[] = [
  {
    ...COMMON,
    kind: 'write',
    name: 'bitfield',
    flags: ['write', 'denyoom'],
    keyFlags: ['RW', 'access', 'update', 'variable_flags'],
    keyNotes: 'This command allows both access and modification of the key',
    since: '3.2.0',
    summary: 'Perform arbitrary bitfield integer operations on strings',
    differs:
      'offsets and saturation are right also where Redis computes them with an overflow of 64 bits; no field ends beyond the limit on strings',
    categories: ['@write', '@bitmap', '@slow'],
    arguments: [
      KEY,
      { name: 'operation', type: 'oneof', flags: ['optional', 'multiple'], arguments: [GET, WRITE] },
    ],
    run: bitfield,
  },
  {
    ...COMMON,
    kind: 'read',
    name: 'bitfield_ro',
    flags: ['readonly', 'fast'],
    keyFlags: ['RO', 'access'],
    since: '6.0.0',
    summary: 'Perform arbitrary bitfield integer operations on strings. Read-only variant of BITFIELD',
    categories: ['@read', '@bitmap', '@fast'],
    arguments: [KEY, { ...GET, flags: ['optional', 'multiple', 'multiple_token'] }],
    run: bitfieldReadOnly,
  },
];

/**
 * SORT and SORT_RO on what there is: no lists, sets and sorted sets yet, so a key that exists is of the wrong type, and
 * one that does not is an empty list.
 *
 * After sort.c of Redis 7.0, `sortCommandGeneric`.
 */
import { latin1 } from '../lib/bytes.ts';
import { ErrorReply, type Reply } from '../resp/reply.ts';
import type { CommandArgument, Database, OtherKey, ReadCommand, WriteCommand } from './command.ts';
import { NOT_AN_INTEGER, SYNTAX_ERROR, WRONG_TYPE } from './errors.ts';
import { parseInteger } from './integer.ts';

interface SortOptions {
  readonly store: Uint8Array | undefined;
}

/** How many words come behind an option. */
const OPERANDS: Readonly<Record<string, number>> = {
  ASC: 0,
  DESC: 0,
  ALPHA: 0,
  LIMIT: 2,
  STORE: 1,
  BY: 1,
  GET: 1,
};

/** Of a STORE named twice the last one counts. */
function parseOptions(argv: readonly Uint8Array[], readOnly: boolean): SortOptions | ErrorReply {
  let store: Uint8Array | undefined;
  let i = 2;
  while (i < argv.length) {
    const word = latin1(argv[i]!).toUpperCase();
    const operands = Object.hasOwn(OPERANDS, word) ? OPERANDS[word]! : undefined;
    if (operands === undefined || i + operands >= argv.length) return SYNTAX_ERROR;
    if (word === 'LIMIT') {
      const limits = [parseInteger(argv[i + 1]!), parseInteger(argv[i + 2]!)];
      if (limits.includes(undefined)) return NOT_AN_INTEGER;
    } else if (word === 'STORE') {
      if (readOnly) return SYNTAX_ERROR;
      store = argv[i + 1]!;
    }
    i += 1 + operands;
  }
  return { store };
}

/** Storing an empty list deletes the destination. */
function sort(db: Database, argv: readonly Uint8Array[]): Reply {
  const options = parseOptions(argv, false);
  if (options instanceof ErrorReply) return options;
  if (db.get(argv[1]!) !== undefined) return WRONG_TYPE;
  if (options.store === undefined) return [];
  db.delete(options.store);
  return 0;
}

function checkSort(argv: readonly Uint8Array[]): Reply | undefined {
  const options = parseOptions(argv, false);
  return options instanceof ErrorReply ? options : undefined;
}

function keysOfSort(argv: readonly Uint8Array[], db: number): readonly OtherKey[] {
  const options = parseOptions(argv, false);
  return options instanceof ErrorReply || options.store === undefined ? [] : [{ db, key: options.store }];
}

function sortReadOnly(db: Database, argv: readonly Uint8Array[]): Reply {
  const options = parseOptions(argv, true);
  if (options instanceof ErrorReply) return options;
  return db.get(argv[1]!) === undefined ? [] : WRONG_TYPE;
}

const BY_SPEC = {
  at: undefined,
  flags: ['RO', 'access'],
  notes:
    "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key we sort",
};
const STORE_SPEC = {
  at: undefined,
  flags: ['OW', 'update'],
  notes:
    "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the argument array",
};
const KEY_SPEC = { at: [1, 1, 1], flags: ['RO', 'access'] } as const;

const DIFFERS = 'there is nothing yet that could be sorted';

const PATTERN: CommandArgument = { name: 'pattern', type: 'pattern', keySpec: 1 };
const ARGUMENTS: readonly CommandArgument[] = [
  { name: 'key', type: 'key' },
  { ...PATTERN, token: 'BY', flags: ['optional'] },
  {
    name: 'offset_count',
    type: 'block',
    token: 'LIMIT',
    flags: ['optional'],
    arguments: [
      { name: 'offset', type: 'integer' },
      { name: 'count', type: 'integer' },
    ],
  },
  { ...PATTERN, token: 'GET', flags: ['optional', 'multiple', 'multiple_token'] },
  {
    name: 'order',
    type: 'oneof',
    flags: ['optional'],
    arguments: [
      { name: 'asc', type: 'pure-token', token: 'ASC' },
      { name: 'desc', type: 'pure-token', token: 'DESC' },
    ],
  },
  { name: 'sorting', type: 'pure-token', token: 'ALPHA', flags: ['optional'] },
];

const COMMON = {
  arity: -2,
  keys: [1, 1, 1],
  group: 'generic',
  complexity:
    'O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned elements. When the elements are not sorted, complexity is O(N).',
} as const;

export const sortCommands: readonly (ReadCommand | WriteCommand)[] = [
  {
    ...COMMON,
    kind: 'write',
    name: 'sort',
    flags: ['write', 'denyoom', 'movablekeys'],
    keySpecs: [KEY_SPEC, BY_SPEC, STORE_SPEC],
    since: '1.0.0',
    summary: 'Sort the elements in a list, set or sorted set',
    differs: DIFFERS,
    categories: ['@write', '@set', '@sortedset', '@list', '@slow', '@dangerous'],
    arguments: [
      ...ARGUMENTS,
      { name: 'destination', type: 'key', keySpec: 2, token: 'STORE', flags: ['optional'] },
    ],
    check: checkSort,
    otherKeys: keysOfSort,
    run: sort,
  },
  {
    ...COMMON,
    kind: 'read',
    name: 'sort_ro',
    flags: ['readonly', 'movablekeys'],
    keySpecs: [KEY_SPEC, BY_SPEC],
    since: '7.0.0',
    summary: 'Sort the elements in a list, set or sorted set. Read-only variant of SORT.',
    differs: DIFFERS,
    categories: ['@read', '@set', '@sortedset', '@list', '@slow', '@dangerous'],
    arguments: ARGUMENTS,
    run: sortReadOnly,
  },
];

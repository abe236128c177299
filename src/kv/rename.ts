/**
 * Values under another name or in another database: RENAME, RENAMENX, COPY and MOVE. The time to live goes along.
 *
 * After db.c of Redis 7.0.
 */
import { bytesEqual, latin1 } from '../lib/bytes.ts';
import { ErrorReply, OK, type Reply } from '../resp/reply.ts';
import { DATABASES } from './batch.ts';
import type { CommandArgument, Database, OtherKey, WriteCommand } from './command.ts';
import { DB_OUT_OF_RANGE, NO_SUCH_KEY, SYNTAX_ERROR } from './errors.ts';
import { parseInt32 } from './integer.ts';

const SAME_OBJECT = new ErrorReply('ERR', 'source and destination objects are the same');

/** Undefined when there was no such key. */
function rename(db: Database, argv: readonly Uint8Array[], overwrite: boolean): boolean | undefined {
  const [, from, to] = argv;
  const value = db.get(from!);
  if (value === undefined) return undefined;
  if (bytesEqual(from!, to!)) return overwrite;
  if (!overwrite && db.get(to!) !== undefined) return false;
  db.set(to!, value);
  db.delete(from!);
  return true;
}

function renameCommand(db: Database, argv: readonly Uint8Array[]): Reply {
  return rename(db, argv, true) === undefined ? NO_SUCH_KEY : OK;
}

function renameIfAbsent(db: Database, argv: readonly Uint8Array[]): Reply {
  const renamed = rename(db, argv, false);
  return renamed === undefined ? NO_SUCH_KEY : Number(renamed);
}

function parseDatabase(argument: Uint8Array): number | ErrorReply {
  const index = parseInt32(argument);
  if (index instanceof ErrorReply) return index;
  return index >= 0 && index < DATABASES ? index : DB_OUT_OF_RANGE;
}

interface CopyOptions {
  readonly replace: boolean;
  /** Undefined: the client's. */
  readonly db: number | undefined;
}

function parseCopyOptions(argv: readonly Uint8Array[]): CopyOptions | ErrorReply {
  let replace = false;
  let db: number | undefined;
  for (let i = 3; i < argv.length; i++) {
    const word = latin1(argv[i]!).toUpperCase();
    if (word === 'REPLACE') replace = true;
    else if (word === 'DB' && i + 1 < argv.length) {
      const index = parseDatabase(argv[++i]!);
      if (index instanceof ErrorReply) return index;
      db = index;
    } else return SYNTAX_ERROR;
  }
  return { replace, db };
}

function copy(db: Database, argv: readonly Uint8Array[]): Reply {
  const options = parseCopyOptions(argv);
  if (options instanceof ErrorReply) return options;
  const [, from, to] = argv;
  const target = options.db ?? db.index;
  if (target === db.index && bytesEqual(from!, to!)) return SAME_OBJECT;
  const value = db.get(from!);
  if (value === undefined) return 0;
  const destination = target === db.index ? db : db.other(target);
  if (!options.replace && destination.get(to!) !== undefined) return 0;
  destination.set(to!, value);
  return 1;
}

function checkCopy(argv: readonly Uint8Array[]): Reply | undefined {
  const options = parseCopyOptions(argv);
  return options instanceof ErrorReply ? options : undefined;
}

function keysOfCopy(argv: readonly Uint8Array[]): readonly OtherKey[] {
  const options = parseCopyOptions(argv);
  if (options instanceof ErrorReply || options.db === undefined) return [];
  return [{ db: options.db, key: argv[2]! }];
}

function move(db: Database, argv: readonly Uint8Array[]): Reply {
  const index = parseDatabase(argv[2]!);
  if (index instanceof ErrorReply) return index;
  if (index === db.index) return SAME_OBJECT;
  const key = argv[1]!;
  const value = db.get(key);
  const destination = db.other(index);
  if (value === undefined || destination.get(key) !== undefined) return 0;
  destination.set(key, value);
  db.delete(key);
  return 1;
}

function checkMove(argv: readonly Uint8Array[]): Reply | undefined {
  const index = parseDatabase(argv[2]!);
  return index instanceof ErrorReply ? index : undefined;
}

function keysOfMove(argv: readonly Uint8Array[]): readonly OtherKey[] {
  const index = parseDatabase(argv[2]!);
  return index instanceof ErrorReply ? [] : [{ db: index, key: argv[1]! }];
}

const KEY: CommandArgument = { name: 'key', type: 'key' };

const WRITE = {
  kind: 'write',
  group: 'generic',
  complexity: 'O(1)',
} as const satisfies Partial<WriteCommand>;

const RENAME = {
  ...WRITE,
  arity: 3,
  keys: [1, 2, 1],
  since: '1.0.0',
  arguments: [KEY, { name: 'newkey', type: 'key', keySpec: 1 }],
} as const satisfies Partial<WriteCommand>;

export const renameCommands: readonly WriteCommand[] = [
  {
    ...RENAME,
    name: 'rename',
    flags: ['write'],
    keySpecs: [
      { at: [1, 1, 1], flags: ['RW', 'access', 'delete'] },
      { at: [2, 2, 1], flags: ['OW', 'update'] },
    ],
    summary: 'Rename a key',
    categories: ['@keyspace', '@write', '@slow'],
    run: renameCommand,
  },
  {
    ...RENAME,
    name: 'renamenx',
    flags: ['write', 'fast'],
    keySpecs: [
      { at: [1, 1, 1], flags: ['RW', 'access', 'delete'] },
      { at: [2, 2, 1], flags: ['OW', 'insert'] },
    ],
    summary: 'Rename a key, only if the new key does not exist',
    categories: ['@keyspace', '@write', '@fast'],
    history: [
      ['3.2.0', 'The command no longer returns an error when source and destination names are the same.'],
    ],
    run: renameIfAbsent,
  },
  {
    ...WRITE,
    name: 'copy',
    arity: -3,
    flags: ['write', 'denyoom'],
    keys: [1, 2, 1],
    keySpecs: [
      { at: [1, 1, 1], flags: ['RO', 'access'] },
      { at: [2, 2, 1], flags: ['OW', 'update'] },
    ],
    since: '6.2.0',
    summary: 'Copy a key',
    complexity:
      'O(N) worst case for collections, where N is the number of nested items. O(1) for string values.',
    categories: ['@keyspace', '@write', '@slow'],
    arguments: [
      { name: 'source', type: 'key' },
      { name: 'destination', type: 'key', keySpec: 1 },
      { name: 'destination-db', type: 'integer', token: 'DB', flags: ['optional'] },
      { name: 'replace', type: 'pure-token', token: 'REPLACE', flags: ['optional'] },
    ],
    check: checkCopy,
    otherKeys: keysOfCopy,
    run: copy,
  },
  {
    ...WRITE,
    name: 'move',
    arity: 3,
    flags: ['write', 'fast'],
    keys: [1, 1, 1],
    keyFlags: ['RW', 'access', 'update'],
    since: '1.0.0',
    summary: 'Move a key to another database',
    categories: ['@keyspace', '@write', '@fast'],
    arguments: [KEY, { name: 'db', type: 'integer' }],
    check: checkMove,
    otherKeys: keysOfMove,
    run: move,
  },
];

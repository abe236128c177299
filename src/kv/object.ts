/**
 * OBJECT: what Redis would say of how a value is kept. hstore keeps all strings alike; the answers follow from the value
 * and from how it came about, so that programs and tests that look at them find what they expect.
 *
 * After object.c of Redis 7.0: `tryObjectEncoding`, `objectCommand`.
 */
import { fromLatin1 } from '../lib/bytes.ts';
import { ErrorReply, type Reply } from '../resp/reply.ts';
import { NO_KEYS, type ReadCommand, type Value } from './command.ts';
import { SYNTAX_ERROR } from './errors.ts';
import { parseInteger } from './integer.ts';

const EMBEDDED_BYTES_MAX = 44;
/** Redis keeps one object for each integer below, and counts no references to it. */
const SHARED_INTEGERS = 10_000;
const SHARED_COUNT = 2 ** 31 - 1;
const NO_FREQUENCY = new ErrorReply(
  'ERR',
  'An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.',
);

export function encodingOf({ bytes, raw }: Value): 'int' | 'embstr' | 'raw' {
  if (raw === true) return 'raw';
  if (parseInteger(bytes) !== undefined) return 'int';
  return bytes.length <= EMBEDDED_BYTES_MAX ? 'embstr' : 'raw';
}

export function referencesTo(value: Value): number {
  if (value.raw === true) return 1;
  const integer = parseInteger(value.bytes);
  return integer !== undefined && integer >= 0 && integer < SHARED_INTEGERS ? SHARED_COUNT : 1;
}

const HELP = [
  'OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:',
  'ENCODING <key>',
  '    Return the kind of internal representation used in order to store the value',
  '    associated with a <key>.',
  'FREQ <key>',
  '    Return the access frequency index of the <key>. The returned integer is',
  '    proportional to the logarithm of the recent access frequency of the key.',
  'IDLETIME <key>',
  '    Return the idle time of the <key>, that is the approximated number of',
  '    seconds elapsed since the last access to the key.',
  'REFCOUNT <key>',
  '    Return the number of references of the value associated with the specified',
  '    <key>.',
  'HELP',
  '    Prints this help.',
];

/** A row for OBJECT NAME key; `answer` is for a key that there is. */
function objectRow(
  row: Pick<ReadCommand, 'name' | 'since' | 'summary' | 'differs' | 'replyIsLocal'>,
  answer: (value: Value, idleMs: number) => Reply,
): ReadCommand {
  return {
    ...row,
    kind: 'read',
    arity: 3,
    flags: ['readonly'],
    keys: [2, 2, 1],
    keyFlags: ['RO'],
    tips: ['nondeterministic_output'],
    group: 'generic',
    complexity: 'O(1)',
    categories: ['@keyspace', '@read', '@slow'],
    arguments: [{ name: 'key', type: 'key' }],
    run: (db, argv) => {
      const value = db.peek(argv[2]!);
      if (value === undefined) return null;
      return answer(value, Math.max(0, db.nowMs - (db.usedAtMs(argv[2]!) ?? db.nowMs)));
    },
  };
}

export const objectCommand: ReadCommand = {
  kind: 'read',
  name: 'object',
  arity: -2,
  flags: [],
  keys: NO_KEYS,
  group: 'generic',
  since: '2.2.3',
  summary: 'A container for object introspection commands',
  complexity: 'Depends on subcommand.',
  categories: ['@slow'],
  run: () => SYNTAX_ERROR,
  subcommands: [
    objectRow(
      { name: 'encoding', since: '2.2.3', summary: 'Inspect the internal encoding of a Redis object' },
      (value) => fromLatin1(encodingOf(value)),
    ),
    objectRow(
      {
        name: 'freq',
        since: '4.0.0',
        summary: 'Get the logarithmic access frequency counter of a Redis object',
      },
      () => NO_FREQUENCY,
    ),
    objectRow(
      {
        name: 'idletime',
        since: '2.2.3',
        summary: 'Get the time since a Redis object was last accessed',
        replyIsLocal: true,
      },
      (_, idleMs) => Math.floor(idleMs / 1000),
    ),
    objectRow(
      {
        name: 'refcount',
        since: '2.2.3',
        summary: 'Get the number of references to the value of the key',
        differs: 'a small integer counts as shared even if COPY has made it',
      },
      (value) => referencesTo(value),
    ),
    {
      kind: 'read',
      name: 'help',
      arity: 2,
      flags: ['loading', 'stale'],
      keys: NO_KEYS,
      group: 'generic',
      since: '6.2.0',
      summary: 'Show helpful text about the different subcommands',
      complexity: 'O(1)',
      categories: ['@keyspace', '@slow'],
      run: () => HELP,
    },
  ],
};

/**
 * LCS: the longest common subsequence of two strings, by the table of the lengths for all pairs of prefixes.
 *
 * The work and the table are the product of the lengths, and while it goes on nothing else does; so there is a limit, at
 * which Redis's error for a table too large is given. (Redis's own limit is 16 times as high, a second of standstill.)
 *
 * After t_string.c of Redis 7.0, `lcsCommand`: which of several equally long ones is found is as there.
 */
import { fromLatin1, latin1 } from '../lib/bytes.ts';
import { ErrorReply, MapReply, type Reply } from '../resp/reply.ts';
import type { CommandArgument, Database, ReadCommand } from './command.ts';
import { NOT_AN_INTEGER, SYNTAX_ERROR } from './errors.ts';
import { parseInteger } from './integer.ts';

/** A length is at most the root of it, which fits in 16 bits. */
const CELLS_MAX = 8_000_000;

const BOTH = new ErrorReply('ERR', 'If you want both the length and indexes, please just use IDX.');
const TOO_LARGE = new ErrorReply(
  'ERR',
  'Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len',
);
const NOTHING = new Uint8Array(0);

interface Options {
  readonly length: boolean;
  readonly indexes: boolean;
  readonly matchLengths: boolean;
  readonly matchLengthMin: number;
}

function parseOptions(argv: readonly Uint8Array[]): Options | ErrorReply {
  const options = { length: false, indexes: false, matchLengths: false, matchLengthMin: 0 };
  for (let i = 3; i < argv.length; i++) {
    const word = latin1(argv[i]!).toUpperCase();
    if (word === 'IDX') options.indexes = true;
    else if (word === 'LEN') options.length = true;
    else if (word === 'WITHMATCHLEN') options.matchLengths = true;
    else if (word === 'MINMATCHLEN' && i + 1 < argv.length) {
      const parsed = parseInteger(argv[++i]!);
      if (parsed === undefined) return NOT_AN_INTEGER;
      options.matchLengthMin = Number(parsed);
    } else return SYNTAX_ERROR;
  }
  return options.length && options.indexes ? BOTH : options;
}

/** Row by row: the length for the first i bytes of `a` and the first j of `b`. */
function lengthTable(a: Uint8Array, b: Uint8Array): Uint16Array {
  const width = b.length + 1;
  const table = new Uint16Array((a.length + 1) * width);
  for (let i = 1; i <= a.length; i++) {
    const byte = a[i - 1]!;
    const row = i * width;
    for (let j = 1; j <= b.length; j++) {
      const at = row + j;
      if (byte === b[j - 1]!) {
        table[at] = table[at - width - 1]! + 1;
      } else {
        const above = table[at - width]!;
        const left = table[at - 1]!;
        table[at] = above > left ? above : left;
      }
    }
  }
  return table;
}

/** Bytes that both strings have one behind the other: from where in each, and how many. */
interface Match {
  a: number;
  b: number;
  length: number;
}

/** From the end to the beginning, as Redis walks and lists them. */
function findMatches(table: Uint16Array, a: Uint8Array, b: Uint8Array): Match[] {
  const width = b.length + 1;
  const matches: Match[] = [];
  let current: Match | undefined;
  let i = a.length;
  let j = b.length;
  while (i > 0 && j > 0) {
    if (a[i - 1] === b[j - 1]) {
      i--;
      j--;
      if (current !== undefined && current.a === i + 1 && current.b === j + 1) {
        current.a = i;
        current.b = j;
        current.length++;
      } else {
        current = { a: i, b: j, length: 1 };
        matches.push(current);
      }
    } else if (table[(i - 1) * width + j]! > table[i * width + j - 1]!) i--;
    else j--;
  }
  return matches;
}

function subsequence(matches: readonly Match[], a: Uint8Array, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let end = length;
  for (const match of matches) {
    end -= match.length;
    bytes.set(a.subarray(match.a, match.a + match.length), end);
  }
  return bytes;
}

function describeMatches(matches: readonly Match[], options: Options): Reply {
  return matches
    .filter(({ length }) => length >= options.matchLengthMin)
    .map(({ a, b, length }) => [
      [a, a + length - 1],
      [b, b + length - 1],
      ...(options.matchLengths ? [length] : []),
    ]);
}

function lcs(db: Database, argv: readonly Uint8Array[]): Reply {
  const options = parseOptions(argv);
  if (options instanceof ErrorReply) return options;
  const a = db.get(argv[1]!)?.bytes ?? NOTHING;
  const b = db.get(argv[2]!)?.bytes ?? NOTHING;
  if ((a.length + 1) * (b.length + 1) > CELLS_MAX) return TOO_LARGE;
  const table = lengthTable(a, b);
  const length = table[table.length - 1]!;
  if (options.length) return length;
  const matches = findMatches(table, a, b);
  if (!options.indexes) return subsequence(matches, a, length);
  return new MapReply([
    [fromLatin1('matches'), describeMatches(matches, options)],
    [fromLatin1('len'), length],
  ]);
}

function flag(token: string): CommandArgument {
  return { name: token.toLowerCase(), type: 'pure-token', token, flags: ['optional'] };
}

export const lcsCommand: ReadCommand = {
  kind: 'read',
  name: 'lcs',
  arity: -3,
  flags: ['readonly'],
  keys: [1, 2, 1],
  keyFlags: ['RO', 'access'],
  group: 'string',
  since: '7.0.0',
  summary: 'Find longest common substring',
  differs: "strings whose lengths multiply to more than 8 million get Redis's error for a table too large",
  complexity: 'O(N*M) where N and M are the lengths of s1 and s2, respectively',
  categories: ['@read', '@string', '@slow'],
  arguments: [
    { name: 'key1', type: 'key' },
    { name: 'key2', type: 'key' },
    flag('LEN'),
    flag('IDX'),
    { name: 'len', type: 'integer', token: 'MINMATCHLEN', flags: ['optional'] },
    flag('WITHMATCHLEN'),
  ],
  run: lcs,
};

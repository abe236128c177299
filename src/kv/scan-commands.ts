/**
 * SCAN, KEYS and RANDOMKEY: commands over all the keys of a database.
 *
 * A cursor of SCAN is a position in the order of the keys (position.ts) and nothing else, so it is good at every server
 * and for ever. A key that is there from the first call to the last is returned exactly once; one that comes or goes
 * meanwhile may be returned or not.
 */
import { fromLatin1, latin1 } from '../lib/bytes.ts';
import { globMatches } from '../lib/glob.ts';
import { EncodedArrayReply, ErrorReply, type Reply } from '../resp/reply.ts';
import { type KeyScan, NO_KEYS, type ScanCommand } from './command.ts';
import { NOT_AN_INTEGER, SYNTAX_ERROR } from './errors.ts';
import { parseInteger } from './integer.ts';
import { POSITIONS } from './position.ts';

const BAD_CURSOR = new ErrorReply('ERR', 'invalid cursor');
const TOO_MANY_KEYS = new ErrorReply('ERR', 'KEYS matches more keys than fit into a reply, use SCAN');
const STORE_REOPENED = new ErrorReply('TRYAGAIN', 'The store was opened again after a full disk, ask again');

const CURSOR_END = 2n ** 64n;
const COUNT_DEFAULT = 10;
/** COUNT is a hint; more than this in one reply would hold up others. */
const COUNT_MAX = 10_000;
const KEYS_REPLY_BYTES_MAX = 256 << 20;
const CHUNK_CHARACTERS = 64 << 10;
/** RANDOMKEY picks one of so many neighbours, and looks at so many neighbourhoods. */
const NEIGHBOURS = 64;
const NEIGHBOURHOODS_MAX = 100;

interface ScanOptions {
  readonly cursor: bigint;
  readonly count: number;
  readonly pattern: string | undefined;
  readonly type: string | undefined;
}

/** As C's strtoul reads it: nothing is 0; leading zeros, a plus, and a minus that wraps around are all fine. */
function parseCursor(bytes: Uint8Array): bigint | undefined {
  const text = latin1(bytes).split('\0', 1)[0]!;
  const match = /^(?:([+-]?)(\d{1,32}))?$/.exec(text);
  if (match === null) return undefined;
  const value = BigInt(match[2] ?? 0);
  if (value >= CURSOR_END) return undefined;
  return match[1] === '-' && value > 0n ? CURSOR_END - value : value;
}

function parseScan(argv: readonly Uint8Array[]): ScanOptions | ErrorReply {
  const cursor = parseCursor(argv[1]!);
  if (cursor === undefined) return BAD_CURSOR;
  let count = COUNT_DEFAULT;
  let pattern: string | undefined;
  let type: string | undefined;
  for (let i = 2; i < argv.length; i += 2) {
    const option = latin1(argv[i]!).toLowerCase();
    const value = argv[i + 1];
    if (value === undefined) return SYNTAX_ERROR;
    if (option === 'count') {
      const parsed = parseInteger(value);
      if (parsed === undefined) return NOT_AN_INTEGER;
      if (parsed < 1) return SYNTAX_ERROR;
      count = Math.min(Number(parsed), COUNT_MAX);
    } else if (option === 'match') {
      pattern = latin1(value);
    } else if (option === 'type') {
      type = latin1(value).toLowerCase();
    } else {
      return SYNTAX_ERROR;
    }
  }
  return { cursor, count, pattern: pattern === '*' ? undefined : pattern, type };
}

function scan(keys: KeyScan, argv: readonly Uint8Array[], done: (reply: Reply | undefined) => void): void {
  const options = parseScan(argv);
  if (options instanceof ErrorReply) return done(options);
  const { cursor, count, pattern, type } = options;
  if (cursor >= BigInt(POSITIONS)) return done(scanReply(undefined, []));
  keys.page(Number(cursor), count, (page) => {
    if (page === undefined) return done(undefined);
    const typed = type === undefined || type === 'string' ? page.names : [];
    const names = pattern === undefined ? typed : typed.filter((name) => globMatches(pattern, name));
    done(scanReply(page.next, names));
  });
}

function scanReply(next: number | undefined, names: readonly string[]): Reply {
  return [fromLatin1(String(next ?? 0)), names.map(fromLatin1)];
}

/** The reply is written while the keys are found: a million of them as values would cost many times as much. */
class KeysReply {
  #count = 0;
  #bytes = 0;
  #text = '';
  readonly #chunks: Uint8Array[] = [];

  add(name: string): void {
    if (this.#bytes > KEYS_REPLY_BYTES_MAX) return;
    this.#count++;
    this.#text += `$${name.length}\r\n${name}\r\n`;
    if (this.#text.length >= CHUNK_CHARACTERS) this.#cut();
  }

  #cut(): void {
    this.#bytes += this.#text.length;
    this.#chunks.push(fromLatin1(this.#text));
    this.#text = '';
  }

  end(): Reply {
    this.#cut();
    if (this.#bytes > KEYS_REPLY_BYTES_MAX) return TOO_MANY_KEYS;
    return new EncodedArrayReply(this.#count, this.#chunks);
  }
}

function keysMatching(
  keys: KeyScan,
  argv: readonly Uint8Array[],
  done: (reply: Reply | undefined) => void,
): void {
  const pattern = latin1(argv[1]!);
  const reply = new KeysReply();
  keys.each(
    (name) => {
      if (pattern === '*' || globMatches(pattern, name)) reply.add(name);
    },
    (outcome) => {
      if (outcome === 'expired') done(undefined);
      else done(outcome === 'lost' ? STORE_REOPENED : reply.end());
    },
  );
}

/** One of the keys near a random position; each key is about as likely as any other where there are few. */
function randomKey(
  keys: KeyScan,
  _argv: readonly Uint8Array[],
  done: (reply: Reply | undefined) => void,
): void {
  let left = NEIGHBOURHOODS_MAX;
  const pick = (names: readonly string[]): void =>
    done(fromLatin1(names[Math.floor(keys.chance() * names.length)]!));
  const look = (from: number): void => {
    left--;
    keys.page(from, NEIGHBOURS, (page) => {
      if (page === undefined) return done(undefined);
      if (page.next !== undefined) {
        if (page.names.length > 0) return pick(page.names);
        return left > 0 ? look(page.next) : done(null);
      }
      // Behind the last key comes the first.
      keys.page(0, NEIGHBOURS, (first) => {
        if (first === undefined) return done(undefined);
        const names = [...new Set([...page.names, ...first.names])];
        if (names.length > 0) return pick(names);
        if (first.next === undefined || left <= 0) return done(null);
        look(first.next);
      });
    });
  };
  if (keys.size === 0) done(null);
  else look(Math.floor(keys.chance() * POSITIONS));
}

export const scanCommands: readonly ScanCommand[] = [
  {
    kind: 'scan',
    name: 'scan',
    arity: -2,
    flags: ['readonly'],
    keys: NO_KEYS,
    tips: ['nondeterministic_output', 'request_policy:special'],
    group: 'generic',
    since: '2.8.0',
    summary: 'Incrementally iterate the keys space',
    complexity:
      'O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.',
    categories: ['@keyspace', '@read', '@slow'],
    history: [['6.0.0', 'Added the `TYPE` subcommand.']],
    arguments: [
      { name: 'cursor', type: 'integer' },
      { name: 'pattern', type: 'pattern', token: 'MATCH', flags: ['optional'] },
      { name: 'count', type: 'integer', token: 'COUNT', flags: ['optional'] },
      { name: 'type', type: 'string', token: 'TYPE', since: '6.0.0', flags: ['optional'] },
    ],
    run: scan,
  },
  {
    kind: 'scan',
    name: 'keys',
    arity: 2,
    flags: ['readonly'],
    keys: NO_KEYS,
    tips: ['request_policy:all_shards', 'nondeterministic_output_order'],
    group: 'generic',
    since: '1.0.0',
    summary: 'Find all keys matching the given pattern',
    complexity:
      'O(N) with N being the number of keys in the database, under the assumption that the key names in the database and the given pattern have limited length.',
    categories: ['@keyspace', '@read', '@slow', '@dangerous'],
    arguments: [{ name: 'pattern', type: 'pattern' }],
    run: keysMatching,
  },
  {
    kind: 'scan',
    name: 'randomkey',
    arity: 1,
    flags: ['readonly'],
    keys: NO_KEYS,
    tips: ['request_policy:all_shards', 'nondeterministic_output'],
    group: 'generic',
    since: '1.0.0',
    summary: 'Return a random key from the keyspace',
    complexity: 'O(1)',
    categories: ['@keyspace', '@read', '@slow'],
    run: randomKey,
  },
];

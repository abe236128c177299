/**
 * Where the keys of a command stand, for those who route commands by their keys: proxies, clients of clusters. COMMAND INFO
 * describes it, COMMAND GETKEYS and GETKEYSANDFLAGS find the keys of one command. After Redis 7.0's db.c.
 */
import { type CommandRow, type KeySpecification, keyIndexes } from '../kv/command.ts';
import { latin1 } from '../lib/bytes.ts';
import { MapReply, type Reply, SetReply } from '../resp/reply.ts';
import type { AnyCommand } from './context.ts';
import { bulk } from './replies.ts';

type Pair = readonly [Reply, Reply];

export interface FlaggedKey {
  readonly key: Uint8Array;
  /** RO, RW, OW, RM, access ... */
  readonly flags: readonly string[];
}

export function keySpecificationsOf(row: CommandRow): readonly KeySpecification[] {
  if (row.keySpecs !== undefined) return row.keySpecs;
  if (row.keys[0] === 0) return [];
  const notes = row.keyNotes === undefined ? {} : { notes: row.keyNotes };
  return [{ at: row.keys, flags: row.keyFlags ?? [], ...notes }];
}

/** Undefined when the command can have no keys at all. `argv` has the right number of arguments. */
export function keysOf(row: AnyCommand, argv: readonly Uint8Array[]): FlaggedKey[] | undefined {
  const specifications = keySpecificationsOf(row);
  if (specifications.length === 0) return undefined;
  return specifications.flatMap(({ at, flags }): FlaggedKey[] => {
    const real = flags.includes('variable_flags') ? flagsNow(row.name, argv) : flags;
    if (at !== undefined) return keysAt(at, argv).map((key) => ({ key, flags: real }));
    // Where the STORE of SORT is, only the command knows.
    const isWritten = row.kind === 'write' && flags.includes('OW');
    const others = isWritten ? (row.otherKeys?.(argv, 0) ?? []) : [];
    return others.map(({ key }) => ({ key, flags }));
  });
}

function keysAt(at: CommandRow['keys'], argv: readonly Uint8Array[]): Uint8Array[] {
  const { first, last, step } = keyIndexes(at, argv.length);
  const keys: Uint8Array[] = [];
  for (let i = first; i <= last; i += step) keys.push(argv[i]!);
  return keys;
}

/** What SET and BITFIELD do to their key depends on their options. */
function flagsNow(name: string, argv: readonly Uint8Array[]): readonly string[] {
  const options = argv.slice(2).map((arg) => latin1(arg).toLowerCase());
  const both = ['RW', 'access', 'update'];
  if (name === 'set') return options.slice(1).includes('get') ? both : ['OW', 'update'];
  return options.includes('set') || options.includes('incrby') ? both : ['RO', 'access'];
}

/** As COMMAND INFO shows it. */
export function describeSpecification({ at, flags, notes }: KeySpecification): Reply {
  const pairs: Pair[] = notes === undefined ? [] : [[bulk('notes'), bulk(notes)]];
  pairs.push([bulk('flags'), new SetReply(flags)]);
  if (at === undefined) {
    const unknown = finding('unknown', []);
    pairs.push([bulk('begin_search'), unknown], [bulk('find_keys'), unknown]);
    return new MapReply(pairs);
  }
  const [first, last, step] = at;
  const range: Pair[] = [
    [bulk('lastkey'), last < 0 ? last : last - first],
    [bulk('keystep'), step],
    [bulk('limit'), 0],
  ];
  pairs.push([bulk('begin_search'), finding('index', [[bulk('index'), first]])]);
  pairs.push([bulk('find_keys'), finding('range', range)]);
  return new MapReply(pairs);
}

function finding(type: string, specification: readonly Pair[]): Reply {
  return new MapReply([
    [bulk('type'), bulk(type)],
    [bulk('spec'), new MapReply(specification)],
  ]);
}

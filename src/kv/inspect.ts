/**
 * Looks at a whole store: decodes and checks every record of a group, and compares what there is with what the meta
 * record says. For a server that is down: nothing must be written meanwhile.
 *
 * The store is read in the order of its keys, page by page, so memory is bounded; data, then due, then sessions. What a
 * key with a time to live has among the due is asked for with its page. Entries of the due that no key has are no problem,
 * a checkpoint that failed leaves them behind; nor is garbage, which a server that runs would clear.
 */
import type { Store } from '../lib/env.ts';
import { CorruptionError } from '../lib/errors.ts';
import type { GroupId } from '../raft/types.ts';
import { NEVER } from './command.ts';
import { decodeMeta, type Meta } from './meta.ts';
import { positionOf } from './position.ts';
import { printable, readStored } from './records.ts';
import { decoding, findState } from './recovery.ts';
import { readSession } from './session-records.ts';
import { StateSum } from './state-sum.ts';
import {
  decodeDataKey,
  decodeDueKey,
  familyOf,
  type KeyRange,
  type Region,
  rangeAfter,
  regionOf,
  StoredKeys,
} from './stored-keys.ts';

export const PROBLEMS_MAX = 100;
const PAGE_ENTRIES = 4096;
const PAGE_BYTES = 1 << 20;
const WHOLE_STORE: KeyRange = { from: new Uint8Array(0), to: Uint8Array.of(0xff) };

export interface StoreReport {
  /** The last entry of the log that the store has; 0 when no checkpoint was ever made. */
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  /** See `KvStateMachine.generation`. */
  readonly generation: number;
  readonly keys: number;
  /** Of clients. */
  readonly sessions: number;
  /** Of all keys and values, garbage included. */
  readonly bytes: number;
  /** What is wrong, in words and with the key; at most PROBLEMS_MAX of them. */
  readonly problems: readonly string[];
}

export interface InspectOptions {
  /** What has been found so far. After each page. */
  readonly onProgress?: (report: StoreReport) => void;
}

/**
 * The error is one of reading the store, or a ConfigError when another version wrote it. Damage is no error: the report
 * tells it.
 */
export function inspectStore(
  store: Store,
  group: GroupId,
  options: InspectOptions,
  done: (error: Error | null, report: StoreReport | undefined) => void,
): void {
  // Without the meta record nobody knows which keys there must be: then there is no more to say.
  const failed = (error: Error): void => {
    if (error instanceof CorruptionError) done(null, hopeless(error));
    else done(error, undefined);
  };
  findState(store, group, (error, state) => {
    if (error !== null || state === undefined) return failed(error!);
    const decode = () => (state.meta === undefined ? undefined : decodeMeta(state.meta));
    decoding(failed, decode, (meta) => {
      new Inspection(store, { group, generation: state.origin.generation }, meta).run(options, done);
    });
  });
}

function hopeless(error: Error): StoreReport {
  const nothing = { appliedIndex: 0, appliedTerm: 0, generation: 0, keys: 0, sessions: 0, bytes: 0 };
  return { ...nothing, problems: [error.message] };
}

type StoredEntry = readonly [Uint8Array, Uint8Array];
/** A key that must be among the due. */
type Expected = readonly [stored: Uint8Array, name: string];

class Inspection {
  readonly #store: Store;
  readonly #region: Region;
  readonly #meta: Meta | undefined;
  readonly #sum: StateSum;
  readonly #storedKeys: ReadonlyMap<number, StoredKeys>;
  #bytes = 0;
  /** Of the state. */
  #records = 0;
  #problems: string[] = [];

  constructor(store: Store, region: Region, meta: Meta | undefined) {
    this.#store = store;
    this.#region = region;
    this.#meta = meta;
    const databases = meta?.databases ?? [];
    this.#sum = new StateSum({ databases });
    this.#storedKeys = new Map(databases.map(({ space }) => [space, new StoredKeys(region, space)]));
  }

  run(
    options: InspectOptions,
    done: (error: Error | null, report: StoreReport | undefined) => void,
    range = WHOLE_STORE,
  ): void {
    this.#store.range({ ...range, limit: PAGE_ENTRIES, bytesMax: PAGE_BYTES }, (error, entries) => {
      if (error !== null) return done(error, undefined);
      const last = entries.at(-1)?.[0];
      if (last === undefined) {
        this.#compare();
        return done(null, this.#report());
      }
      const expected: Expected[] = [];
      for (const entry of entries) this.#check(entry, expected);
      this.#checkDue(expected, (failure) => {
        if (failure !== null) return done(failure, undefined);
        options.onProgress?.(this.#report());
        this.run(options, done, rangeAfter(range, last));
      });
    });
  }

  #report(): StoreReport {
    return {
      appliedIndex: this.#meta?.appliedIndex ?? 0,
      appliedTerm: this.#meta?.appliedTerm ?? 0,
      generation: this.#region.generation,
      keys: this.#sum.keys,
      sessions: this.#sum.sessions,
      bytes: this.#bytes,
      problems: this.#problems,
    };
  }

  #problem(text: string): void {
    if (this.#problems.length < PROBLEMS_MAX) this.#problems.push(text);
  }

  #check([stored, value]: StoredEntry, expected: Expected[]): void {
    this.#bytes += stored.length + value.length;
    try {
      this.#checkRecord(stored, value, expected);
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      this.#problem(`${error.message} (stored under ${hex(stored)})`);
    }
  }

  /** Throws CorruptionError. */
  #checkRecord(stored: Uint8Array, value: Uint8Array, expected: Expected[]): void {
    const family = familyOf(stored);
    if (family === undefined) return this.#problem(`the store holds a key of no kind (${hex(stored)})`);
    // Both are checked elsewhere: the one has been, the other is looked at when a snapshot comes in.
    if (family === 'pointer' || family === 'progress') return;
    const { group, generation } = regionOf(stored);
    if (group !== this.#region.group) return this.#problem(`the store holds a key of group ${group}`);
    if (generation !== this.#region.generation) return;
    this.#records++;
    if (this.#meta === undefined) return;
    if (family === 'data') this.#checkValue(stored, value, expected);
    else if (family === 'session') this.#sum.session(readSession(stored, value));
    else if (family === 'due') decodeDueKey(stored);
  }

  #checkValue(stored: Uint8Array, bytes: Uint8Array, expected: Expected[]): void {
    const { space, name, position } = decodeDataKey(stored);
    const keys = this.#storedKeys.get(space);
    if (keys === undefined) {
      if (space >= this.#meta!.nextSpace) {
        this.#problem(`the key ${printable(name)} is in space ${space}, which never was`);
      }
      return;
    }
    if (position !== positionOf(name)) this.#problem(`the key ${printable(name)} is at another position`);
    const value = readStored(name, bytes);
    this.#sum.value(space, value);
    if (value.expireAtMs !== NEVER) expected.push([keys.due(name, value.expireAtMs), name]);
  }

  #checkDue(expected: readonly Expected[], done: (error: Error | null) => void): void {
    if (expected.length === 0) return done(null);
    const keys = expected.map(([stored]) => stored);
    this.#store.getMany(keys, (error, values) => {
      if (error !== null) return done(error);
      for (const [i, [, name]] of expected.entries()) {
        if (values[i] === undefined) this.#problem(`nothing tells when the key ${printable(name)} expires`);
      }
      done(null);
    });
  }

  /** Once everything has been read. */
  #compare(): void {
    if (this.#meta === undefined) {
      if (this.#records > 0) this.#problem('there are records, and no meta record');
      return;
    }
    for (const difference of this.#sum.differences(this.#meta)) this.#problem(difference);
  }
}

function hex(stored: Uint8Array): string {
  const shown = [...stored.subarray(0, 64)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return stored.length > 64 ? `${shown}...` : shown;
}

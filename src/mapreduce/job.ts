/**
 * A job of the user's own: a module that exports `map`, and what else it needs of the following.
 *
 *   export function map(record, emit) { for (const word of record.text.split(/\s+/)) emit(word, 1); }
 *   export const combine = 'sum';
 *
 * `map` gets one record after the other and emits pairs of key and value. All values of a key come together in one call of
 * `reduce`, which writes lines; without a `reduce` a line is `key: value`, the value being what `combine` makes of all.
 *
 * map, combine and reduce must be deterministic: a task may be executed more than once, and is committed once. They are
 * synchronous. Types and semantics after Dean & Ghemawat 2004, section 2.
 */

export interface Job<V = unknown> {
  /**
   * What a record is: a line (without its end), a whole file, or a chunk of about a megabyte that begins and ends between
   * words. `lines` unless given. For stored keys a record is one value in each case but `lines`.
   */
  readonly input?: 'lines' | 'whole' | 'chunk';
  map(record: MapRecord, emit: Emit<V>, context: JobContext): void;
  /** Puts values of one key together wherever they meet, also several times over. Numbers have names for it. */
  readonly combine?: 'sum' | 'min' | 'max' | 'count' | ((key: string, values: Iterable<V>) => V);
  /** Called once for each key, in the order of the keys' bytes. `write` adds a line. */
  reduce?(
    key: string,
    values: Iterable<V>,
    write: (line: string | Uint8Array) => void,
    context: JobContext,
  ): void;
  /** Which of `reducers` output parts a key is in. The same for equal keys, always. By a hash unless given. */
  partition?(key: Uint8Array, reducers: number): number;
}

export interface MapRecord {
  /** UTF-8; what is not valid is replaced. */
  readonly text: string;
  /** A view: valid during the call. */
  readonly bytes: Uint8Array;
  /** The file's path, or `keys`. */
  readonly file: string;
  /** Where the record begins in its file; 0 for a stored value. */
  readonly offset: number;
  /** The stored key, where the input is keys. */
  readonly key?: string;
}

export interface Emit<V> {
  (key: string, value: V): void;
  /** The key as bytes, without a string made of it: several times faster. */
  bytes(source: Uint8Array, from: number, to: number, value: V): void;
  /** Emits every word of the record (maximal runs of Unicode letters) with this value: the fastest. */
  words(record: MapRecord, value: V): void;
}

export interface JobContext {
  /** Adds to a counter, which is shown at the end. */
  count(name: string, by?: number): void;
  readonly task: number;
  readonly attempt: number;
  /** What was given behind `--arg NAME=VALUE`. */
  readonly args: Readonly<Record<string, string>>;
}

/**
 * What the store says at the start: which generation is the state of the group, and its meta record.
 *
 * Above that generation there may be part of a snapshot that was coming in. It stays when it can still be gone on with;
 * else it is cleared before anything else happens, because the next snapshot will take the same number.
 */
import { MalformedError } from '../lib/bytes.ts';
import type { Store } from '../lib/env.ts';
import { CorruptionError, DiskFullError, HstoreError } from '../lib/errors.ts';
import type { GroupId } from '../raft/types.ts';
import { refuseFormat } from './meta.ts';
import { decodePointer, type Origin } from './pointer.ts';
import { decodeProgress } from './snapshot-progress.ts';
import {
  formerMetaKey,
  generationRangesFrom,
  type KeyRange,
  metaKey,
  pointerKey,
  progressKey,
} from './stored-keys.ts';

export interface StoredState {
  readonly origin: Origin;
  /** Undefined: no checkpoint was ever made. */
  readonly meta: Uint8Array | undefined;
}

type Failed = (error: Error) => void;

/** The error is a CorruptionError, or ConfigError when another version wrote the store. */
export function findState(
  store: Store,
  group: GroupId,
  done: (error: Error | null, state: StoredState | undefined) => void,
): void {
  const failed: Failed = (error) => done(error, undefined);
  store.getMany([pointerKey(group), formerMetaKey(group)], (error, [pointer, former]) => {
    if (error !== null) return failed(error);
    const decode = (): Origin => {
      if (former !== undefined) refuseFormat(former[0]);
      return decodePointer(group, pointer);
    };
    decoding(failed, decode, (origin) => {
      const { generation, installed } = origin;
      store.getMany([metaKey({ group, generation })], (metaError, [meta]) => {
        if (metaError !== null) return failed(metaError);
        if (meta !== undefined || installed === undefined) return done(null, { origin, meta });
        failed(new CorruptionError(`the store is damaged: generation ${generation} has no meta record`));
      });
    });
  });
}

/**
 * Clears what lies above `generation`, but for a part of a snapshot that goes beyond `appliedIndex`. A full disk is no
 * error: it is tried again at the next start, and before the next snapshot is taken in.
 */
export function clearAbandoned(
  store: Store,
  state: { readonly group: GroupId; readonly generation: number; readonly appliedIndex: number },
  done: (error: Error | null) => void,
): void {
  const { group, generation, appliedIndex } = state;
  const finish = (error: Error | null): void => done(error instanceof DiskFullError ? null : error);
  store.getMany([progressKey(group)], (error, [stored]) => {
    if (error !== null) return done(error);
    const incoming = decodeProgress(group, stored)?.incoming;
    const isOfUse = incoming?.generation === generation + 1 && incoming.index > appliedIndex;
    if (isOfUse) return clearAll(store, generationRangesFrom(group, generation + 2), finish);
    forgetIncoming(store, { group, generation: generation + 1, known: stored !== undefined }, finish);
  });
}

/**
 * Removes all that came in under `generation` and above. The record of progress goes first: what is cleared in part is
 * not to be gone on with. `known`: whether there may be such a record.
 */
export function forgetIncoming(
  store: Store,
  incoming: { readonly group: GroupId; readonly generation: number; readonly known: boolean },
  done: (error: Error | null) => void,
): void {
  const { group, generation, known } = incoming;
  const clear = (): void => clearAll(store, generationRangesFrom(group, generation), done);
  if (!known) return clear();
  const batch = store.batch();
  batch.delete(progressKey(group));
  batch.write((error) => (error === null ? clear() : done(error)));
}

function clearAll(store: Store, ranges: readonly KeyRange[], done: (error: Error | null) => void): void {
  const [range, ...others] = ranges;
  if (range === undefined) return done(null);
  store.clear(range, (error) => (error === null ? clearAll(store, others, done) : done(error)));
}

/**
 * Errors that happen go to `failed`: what was read makes no sense. A failed assertion does not, nor does what `then`
 * throws.
 */
export function decoding<T>(failed: Failed, decode: () => T, then: (decoded: T) => void): void {
  let decoded: T;
  try {
    decoded = decode();
  } catch (error) {
    if (!(error instanceof HstoreError || error instanceof MalformedError)) throw error;
    return failed(error);
  }
  then(decoded);
}

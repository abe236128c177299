/**
 * Commands that servers send through the log for themselves. No client can: the door does not know them, but for WATCH,
 * whose row at the door is another.
 */
import { ErrorReply, OK } from '../resp/reply.ts';
import { NO_KEYS, type ReadCommand, type WriteCommand } from './command.ts';

const INTERNAL = {
  internal: true,
  flags: [],
  group: 'generic',
  since: '7.0.0',
  complexity: 'O(N)',
  categories: [],
} as const satisfies Partial<WriteCommand>;

/** The versions of keys, 0 for one that is not there. */
export const watchedVersions: ReadCommand = {
  ...INTERNAL,
  kind: 'read',
  name: 'hstore.versions',
  arity: -2,
  keys: [1, -1, 1],
  summary: 'The versions of keys, for WATCH',
  run: (db, argv) => argv.slice(1).map((key) => db.versionOf(key)),
};

/** Removes those of its keys that have expired by the time of the entry; which is all that decides. */
export const REMOVE_EXPIRED = 'hstore.remove-expired';
/** One argument, 0 or 1: whether expired keys are looked for in the background. */
export const ACTIVE_EXPIRE = 'hstore.active-expire';

/** One argument: the id of a view. */
export const FREEZE = 'hstore.freeze';
export const VIEW_ID_BYTES_MAX = 64;

const BAD_VIEW_ID = new ErrorReply('ERR', `the id of a view has 1 to ${VIEW_ID_BYTES_MAX} bytes`);

/** By itself it changes nothing: the state behind its entry is what each server keeps a view of (applier.ts). */
export const freezeCommand: WriteCommand = {
  ...INTERNAL,
  kind: 'write',
  name: FREEZE,
  arity: 2,
  keys: NO_KEYS,
  summary: 'Keep a view of all keys as they are behind this entry of the log',
  run: (_db, argv) => (isViewId(argv[1]!) ? OK : BAD_VIEW_ID),
};

export function isViewId(id: Uint8Array): boolean {
  return id.length > 0 && id.length <= VIEW_ID_BYTES_MAX;
}

export const internalCommands: readonly WriteCommand[] = [
  freezeCommand,
  {
    ...INTERNAL,
    kind: 'write',
    name: REMOVE_EXPIRED,
    arity: -2,
    keys: [1, -1, 1],
    summary: 'Remove keys that have expired',
    run: (db, argv) => {
      // Whatever a write finds expired it removes.
      for (let i = 1; i < argv.length; i++) db.peek(argv[i]!);
      return OK;
    },
    // A read of very many keys names them all.
    pieces: 'last',
  },
  {
    ...INTERNAL,
    kind: 'write',
    name: ACTIVE_EXPIRE,
    arity: 2,
    keys: NO_KEYS,
    summary: 'Switch the background removal of expired keys on or off',
    run: (db, argv) => {
      db.setActiveExpire(argv[1]![0] !== 0x30);
      return OK;
    },
  },
];

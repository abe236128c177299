/**
 * What a single server would answer: models of hstore's commands for the linearizability checker.
 *
 * Values and replies are strings of one character per byte. An error is the reply `-ERR ...`. A `reply` that is undefined
 * is not known, and agrees with everything.
 */
import { unreachable } from '../../src/lib/assert.ts';
import type { Model } from './linearizability.ts';

export type KeyCommand =
  | { readonly name: 'GET' | 'DEL' | 'INCR'; readonly key: string }
  | { readonly name: 'SET' | 'SETNX' | 'GETSET' | 'APPEND'; readonly key: string; readonly value: string };
export type StoreCommand =
  | KeyCommand
  | { readonly name: 'MGET'; readonly keys: readonly string[] }
  | { readonly name: 'MSET'; readonly pairs: readonly (readonly [key: string, value: string])[] };

export type KvReply = string | number | null | readonly (string | null)[];

export type KeyOp = KeyCommand & { readonly reply: KvReply | undefined };
export type StoreOp = StoreCommand & { readonly reply: KvReply | undefined };

/** One key, a missing one is null: histories without MGET and MSET, checked key by key. */
export const keyModel: Model<string | null, KeyOp> = {
  initial: null,
  step: (state, op) => agreed(op.reply, runOnKey(state, op)),
  key: (state) => JSON.stringify(state),
  partition: (op) => op.key,
  isRead,
  describe: describeOp,
};

/** All keys at once: slower, but MGET and MSET join them. */
export const storeModel: Model<ReadonlyMap<string, string>, StoreOp> = {
  initial: new Map(),
  step: (state, op) => agreed(op.reply, runOnStore(state, op)),
  key: (state) => JSON.stringify([...state].sort(([a], [b]) => (a < b ? -1 : 1))),
  isRead,
  describe: describeOp,
};

/** Also a write that, as it says itself, has done nothing. */
function isRead({ name, reply }: StoreOp): boolean {
  if (name === 'GET' || name === 'MGET') return true;
  if (name === 'DEL' || name === 'SETNX') return reply === 0;
  return typeof reply === 'string' && reply.startsWith('-');
}

type Result<State> = readonly [state: State, reply: KvReply];

function agreed<State>(seen: KvReply | undefined, [state, reply]: Result<State>): State | undefined {
  return seen === undefined || same(seen, reply) ? state : undefined;
}

function same(a: KvReply, b: KvReply): boolean {
  return a === b || (typeof a === 'object' && JSON.stringify(a) === JSON.stringify(b));
}

export function runOnKey(value: string | null, command: KeyCommand): Result<string | null> {
  switch (command.name) {
    case 'GET':
      return [value, value];
    case 'SET':
      return [command.value, 'OK'];
    case 'SETNX':
      return value === null ? [command.value, 1] : [value, 0];
    case 'GETSET':
      return [command.value, value];
    case 'APPEND':
      return [(value ?? '') + command.value, (value ?? '').length + command.value.length];
    case 'DEL':
      return [null, value === null ? 0 : 1];
    case 'INCR':
      return increment(value);
    default:
      return unreachable(command);
  }
}

function increment(value: string | null): Result<string | null> {
  const before = value ?? '0';
  if (!/^(0|-?[1-9]\d{0,14})$/.test(before)) return [value, '-ERR value is not an integer or out of range'];
  return [`${Number(before) + 1}`, Number(before) + 1];
}

export function runOnStore(
  store: ReadonlyMap<string, string>,
  command: StoreCommand,
): Result<ReadonlyMap<string, string>> {
  if (command.name === 'MGET') return [store, command.keys.map((key) => store.get(key) ?? null)];
  if (command.name === 'MSET') return [new Map([...store, ...command.pairs]), 'OK'];
  const [value, reply] = runOnKey(store.get(command.key) ?? null, command);
  const after = new Map(store);
  if (value === null) after.delete(command.key);
  else after.set(command.key, value);
  return [after, reply];
}

function describeOp(op: StoreOp): string {
  const args = Object.entries(op).filter(([name]) => name !== 'name' && name !== 'reply');
  const shown = args
    .map(([, value]) => (typeof value === 'string' ? value : JSON.stringify(value)))
    .join(' ');
  return `${op.name} ${shown} -> ${op.reply === undefined ? 'unknown' : JSON.stringify(op.reply)}`;
}

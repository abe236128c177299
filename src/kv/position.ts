/**
 * Where a key stands in the order of a database: by slot, and within a slot by a hash of the key.
 *
 * The order is one for all servers and for all time, so a cursor of SCAN is nothing but a position: no server has to
 * remember it, and it goes on at another server, after a restart, after an election. Because a position is a place and
 * not a count, a key that is there during the whole scan is met exactly once, whatever else comes and goes. Keys that
 * share a position (one in four thousand million of a slot's) are always returned together.
 *
 *   position = slot * 2^32 + order          0 <= position < 2^46
 */
import { SLOTS, slotOf } from './slot.ts';

export const ORDERS = 2 ** 32;
export const POSITIONS = SLOTS * ORDERS;

/** `name`: the key, one character per byte. */
export function positionOf(name: string): number {
  return slotOf(name) * ORDERS + orderOf(name);
}

/** FNV-1a, and the finalizer of MurmurHash3 so that keys that differ in one digit are not neighbours. */
function orderOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

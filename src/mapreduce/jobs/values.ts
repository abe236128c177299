/**
 * Values of the user's own jobs as bytes. A tag, then:
 *
 *   1   a whole number in [0, 2^53): varint      2   any other number: f64 LE      3   a string: UTF-8      4   JSON, UTF-8
 *
 * What JSON keeps of an object is what `reduce` gets of it: dates become strings, functions and undefined are left out.
 */
import { Buffer } from 'node:buffer';
import { CorruptionError } from '../../lib/errors.ts';

const WHOLE = 1;
const FLOAT = 2;
const STRING = 3;
const JSON_TEXT = 4;

/** Throws TypeError for what is no value at all. */
export function encodeValue(value: unknown): Uint8Array {
  if (typeof value === 'number') return encodeNumber(value);
  const isString = typeof value === 'string';
  const text = isString ? value : JSON.stringify(value);
  if (text === undefined) {
    throw new TypeError(`a value is a number, a string, or what JSON can hold, not ${typeof value}`);
  }
  const bytes = Buffer.allocUnsafe(1 + Buffer.byteLength(text));
  bytes[0] = isString ? STRING : JSON_TEXT;
  bytes.write(text, 1);
  return bytes;
}

function encodeNumber(value: number): Uint8Array {
  if (Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0)) {
    const bytes = [WHOLE];
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
    bytes.push(rest);
    return Uint8Array.from(bytes);
  }
  const bytes = Buffer.allocUnsafe(9);
  bytes[0] = FLOAT;
  bytes.writeDoubleLE(value, 1);
  return bytes;
}

function wholeNumberOf(bytes: Uint8Array): number {
  let value = 0;
  let factor = 1;
  for (let i = 1; i < bytes.length; i++) {
    value += (bytes[i]! & 0x7f) * factor;
    factor *= 0x80;
  }
  return value;
}

/** Throws CorruptionError. */
export function decodeValue(bytes: Uint8Array): unknown {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (view[0]) {
    case WHOLE:
      return wholeNumberOf(view);
    case FLOAT:
      return view.readDoubleLE(1);
    case STRING:
      return view.toString('utf8', 1);
    case JSON_TEXT:
      return JSON.parse(view.toString('utf8', 1));
    default:
      throw new CorruptionError(`a value has the unknown tag ${view[0]}`);
  }
}

/**
 * Replies as bytes: RESP2 or RESP3, to the letter as Redis 7.0 writes them (networking.c, addReply...).
 *
 * What has no form in RESP2 falls back as in Redis: maps and sets to arrays, doubles and verbatim text to bulk strings,
 * booleans to 0 and 1, both nulls to their own old forms.
 */
import { fromLatin1 } from '../lib/bytes.ts';
import {
  AttributedReply,
  BigNumberReply,
  BooleanReply,
  DoubleReply,
  EncodedArrayReply,
  ErrorReply,
  MapReply,
  NullArrayReply,
  type Reply,
  SetReply,
  VerbatimReply,
} from './reply.ts';
import type { ReplyWriter } from './reply-writer.ts';

export type Protocol = 2 | 3;

const OK_LINE = fromLatin1('+OK\r\n');
const NULL_BULK_2 = fromLatin1('$-1\r\n');
const NULL_ARRAY_2 = fromLatin1('*-1\r\n');
const NULL_3 = fromLatin1('_\r\n');
const UTF8 = new TextEncoder();
const CRLF = fromLatin1('\r\n');
const SMALL_MAX = 1024;
const SMALL_INTEGERS = smallHeaders(':');
const SMALL_BULK_HEADERS = smallHeaders('$');

function smallHeaders(type: string): Buffer[] {
  return Array.from({ length: SMALL_MAX }, (_, number) => fromLatin1(`${type}${number}\r\n`));
}

export function encodeReply(reply: Reply, protocol: Protocol, out: ReplyWriter): void {
  if (typeof reply === 'string') {
    if (reply === 'OK') out.bytes(OK_LINE);
    else encodeLine('+', reply, out);
  } else if (typeof reply === 'number' || typeof reply === 'bigint') {
    encodeInteger(reply, out);
  } else if (reply === null) {
    out.bytes(protocol === 3 ? NULL_3 : NULL_BULK_2);
  } else if (reply instanceof Uint8Array) {
    encodeBulk(reply, out);
  } else {
    encodeComposed(reply, protocol, out);
  }
}

/** The rarer ones. */
function encodeComposed(
  reply: Exclude<Reply, string | number | bigint | Uint8Array | null>,
  protocol: Protocol,
  out: ReplyWriter,
): void {
  if (reply instanceof ErrorReply) {
    encodeLine('-', `${reply.code} ${reply.message}`, out);
  } else if (reply instanceof NullArrayReply) {
    out.bytes(protocol === 3 ? NULL_3 : NULL_ARRAY_2);
  } else if (reply instanceof MapReply) {
    out.ascii(protocol === 3 ? `%${reply.pairs.length}\r\n` : `*${reply.pairs.length * 2}\r\n`);
    for (const pair of reply.pairs) encodeAll(pair, protocol, out);
  } else if (reply instanceof SetReply) {
    out.ascii(`${protocol === 3 ? '~' : '*'}${reply.members.length}\r\n`);
    encodeAll(reply.members, protocol, out);
  } else if (reply instanceof DoubleReply) {
    const text = formatDouble(reply.value);
    out.ascii(protocol === 3 ? `,${text}\r\n` : `$${text.length}\r\n${text}\r\n`);
  } else if (reply instanceof VerbatimReply) {
    encodeVerbatim(reply, protocol, out);
  } else if (reply instanceof BooleanReply) {
    out.ascii(protocol === 3 ? (reply.value ? '#t\r\n' : '#f\r\n') : reply.value ? ':1\r\n' : ':0\r\n');
  } else if (reply instanceof BigNumberReply || reply instanceof AttributedReply) {
    encodeRare(reply, protocol, out);
  } else if (reply instanceof EncodedArrayReply) {
    out.ascii(`*${reply.count}\r\n`);
    for (const chunk of reply.chunks) out.bytes(chunk);
  } else {
    out.ascii(`*${reply.length}\r\n`);
    encodeAll(reply, protocol, out);
  }
}

/** What only DEBUG PROTOCOL gives, for tests of clients. */
function encodeRare(reply: BigNumberReply | AttributedReply, protocol: Protocol, out: ReplyWriter): void {
  if (reply instanceof BigNumberReply) {
    if (protocol === 3) out.ascii(`(${reply.value}\r\n`);
    else encodeBulk(fromLatin1(`${reply.value}`), out);
    return;
  }
  if (protocol === 3) {
    out.ascii(`|${reply.attributes.length}\r\n`);
    for (const pair of reply.attributes) encodeAll(pair, protocol, out);
  }
  encodeReply(reply.reply, protocol, out);
}

function encodeAll(replies: readonly Reply[], protocol: Protocol, out: ReplyWriter): void {
  for (const reply of replies) encodeReply(reply, protocol, out);
}

function encodeInteger(value: number | bigint, out: ReplyWriter): void {
  const small = typeof value === 'number' && value >= 0 ? SMALL_INTEGERS[value] : undefined;
  if (small !== undefined) out.bytes(small);
  else out.ascii(`:${value}\r\n`);
}

function encodeBulk(bytes: Uint8Array, out: ReplyWriter): void {
  const small = SMALL_BULK_HEADERS[bytes.length];
  if (small !== undefined) out.bytes(small);
  else out.ascii(`$${bytes.length}\r\n`);
  out.bytes(bytes);
  out.bytes(CRLF);
}

function encodeVerbatim(reply: VerbatimReply, protocol: Protocol, out: ReplyWriter): void {
  const text = UTF8.encode(reply.text);
  if (protocol === 2) {
    encodeBulk(text, out);
    return;
  }
  out.ascii(`=${text.length + 4}\r\n${reply.format}:`);
  out.bytes(text);
  out.bytes(CRLF);
}

/**
 * A status or an error: one line, whatever text it quotes. One character is one byte, so that bytes of a client's
 * command come back as they were (`latin1` in lib/bytes.ts); text beyond Latin-1 is our own, and is written in UTF-8.
 */
function encodeLine(type: '+' | '-', text: string, out: ReplyWriter): void {
  const line = type + text.replaceAll(/[\r\n]/g, ' ');
  out.bytes(/^[\0-\xff]*$/.test(line) ? fromLatin1(line) : UTF8.encode(line));
  out.bytes(CRLF);
}

/** C's `%.17g`, as Redis 7.0 prints scores: all 17 digits, trailing zeros cut off, `1e+20`, `inf`. */
export function formatDouble(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (value === 0) return Object.is(value, -0) ? '-0' : '0';
  const [digits, exponentText] = value.toExponential(16).split('e') as [string, string];
  const exponent = Number(exponentText);
  if (exponent < -4 || exponent >= 17) {
    const size = `${Math.abs(exponent)}`.padStart(2, '0');
    return `${withoutTrailingZeros(digits)}e${exponent < 0 ? '-' : '+'}${size}`;
  }
  return withoutTrailingZeros(value.toFixed(16 - exponent));
}

function withoutTrailingZeros(digits: string): string {
  return digits.includes('.') ? digits.replace(/\.?0+$/, '') : digits;
}

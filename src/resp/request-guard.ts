/**
 * The guard before redis-parser: finds where requests end, and refuses what Redis refuses.
 *
 * redis-parser is written for clients, who trust their server. Before a server it must never see a byte that this guard
 * has not judged: `*33554432` makes it allocate 256 MB, twenty thousand times `*1` end its stack, `$abc` makes it wait for
 * ever, an inline command is a fatal error. So the guard walks over every chunk first, as a state machine whose whole
 * memory is a few numbers: it reads the `*count` and `$length` headers digit by digit, steps over the bodies by
 * arithmetic, and says where a request ends. Each byte of a header or of an inline line is looked at once, whatever
 * the chunks; a body is not looked at at all.
 *
 *   start --*--> count --CR x--> length --CR x--> body --> length ... --> `command`
 *     \--else--> line  --LF--> `inline`
 *
 * Rules and texts are those of processMultibulkBuffer and processInlineBuffer in Redis 7.0's networking.c: the byte
 * after a CR is not looked at, nor are the two after a body; a NUL hides the line end behind it (they are found with
 * strchr), so such a line only ends by growing too long. Two differences: a line over 64 KB is refused always, not only
 * when it comes in several reads; a count over `multibulkCountMax` is refused where Redis allows 2^31 - 1.
 */
import { assert } from '../lib/assert.ts';

export interface RequestLimits {
  /** A longer bulk string is a protocol error, told by its header. Redis: proto-max-bulk-len. */
  readonly protoMaxBulkLen: number;
  /** A request of more bytes on the wire is too big. Redis: client-query-buffer-limit. */
  readonly queryBufferBytesMax: number;
  /** More arguments are a protocol error. */
  readonly multibulkCountMax: number;
}

/** Redis's PROTO_INLINE_MAX_SIZE: the longest inline command, and the longest header. */
export const LINE_BYTES_MAX = 64 * 1024;
/** What strangers may send before AUTH. */
export const UNAUTHENTICATED_COUNT_MAX = 10;
export const UNAUTHENTICATED_BULK_BYTES_MAX = 16384;
/** What an argument costs beside its bytes: a Buffer object and its slot in argv (measured: 104 bytes on Node.js 20). */
export const ARGUMENT_OVERHEAD_BYTES = 104;

/**
 * What a scan came to: a whole multibulk request; a whole inline line, its LF included; a request that is to be ignored
 * (`*0`, `*-1`); the end of the chunk; a protocol error, its text in `error`; a request over `queryBufferBytesMax`.
 */
export type Found = 'command' | 'inline' | 'nothing' | 'more' | 'error' | 'too-big';

type State = 'start' | 'count' | 'length' | 'body' | 'line' | 'failed';

const LF = 10;
const CR = 13;
const DOLLAR = 36;
const ASTERISK = 42;
const MINUS = 45;
const ZERO = 48;
/** The end of int64, and what adding up its 19 digits in doubles may err by. */
const INT64_MAX = 2 ** 63 + 2048;

export class RequestGuard {
  readonly #limits: RequestLimits;
  #state: State = 'start';
  /** Where the last scan stopped: the end of what it found. */
  offset = 0;
  /** The text of the protocol error, after `Protocol error: `. */
  error = '';
  /** Bytes looked at one by one so far, so that a test can tell linear from quadratic without a clock. */
  examinedBytes = 0;

  /** Of the request under way: bytes before this chunk, arguments still to come, bytes of the body still to come. */
  #requestBytes = 0;
  #argumentsLeft = 0;
  #bodyLeft = 0;

  /** Of the line under way. The number is read by `string2ll`'s rules: no sign but a minus, no leading zero, no `-0`. */
  #lineBytes = 0;
  #sawCr = false;
  #sawNul = false;
  #type = 0;
  #number = 0;
  #digits = 0;
  #negative = false;
  #malformed = false;

  constructor(limits: RequestLimits) {
    this.#limits = limits;
  }

  /**
   * Walks over `chunk` from `from`, where the last scan stopped or, after `more`, 0 of the chunk that follows. After
   * `error` and `too-big` there is no further scan.
   */
  scan(chunk: Uint8Array, from: number, authenticated: boolean): Found {
    assert(this.#state !== 'failed', 'nothing is scanned after a protocol error');
    this.offset = from;
    for (;;) {
      const found = this.#step(chunk, from, authenticated);
      if (found === undefined) continue;
      this.#settle(found, this.offset - from);
      return found;
    }
  }

  #step(chunk: Uint8Array, from: number, authenticated: boolean): Found | undefined {
    switch (this.#state) {
      case 'start':
        return this.#start(chunk);
      case 'count':
        return this.#line(chunk)
          ? this.#count(authenticated)
          : this.#unfinished('too big mbulk count string');
      case 'length':
        return this.#line(chunk)
          ? this.#length(from, authenticated)
          : this.#unfinished('too big bulk count string');
      case 'body':
        return this.#body(chunk);
      case 'line':
        return this.#inline(chunk) ? 'inline' : this.#unfinished('too big inline request');
      default:
        return 'error';
    }
  }

  #settle(found: Found, bytes: number): void {
    if (found === 'more') {
      this.#requestBytes += bytes;
    } else {
      this.#state = found === 'error' || found === 'too-big' ? 'failed' : 'start';
    }
  }

  #start(chunk: Uint8Array): Found | undefined {
    if (this.offset === chunk.length) return 'more';
    this.#requestBytes = 0;
    this.#startLine();
    this.#state = chunk[this.offset] === ASTERISK ? 'count' : 'line';
    return undefined;
  }

  #startLine(): void {
    this.#lineBytes = 0;
    this.#sawCr = false;
    this.#sawNul = false;
    this.#number = 0;
    this.#digits = 0;
    this.#negative = false;
    this.#malformed = false;
  }

  #unfinished(tooLong: string): Found {
    return this.#lineBytes > LINE_BYTES_MAX ? this.#fail(tooLong) : 'more';
  }

  #fail(error: string): Found {
    this.error = error;
    return 'error';
  }

  /** Goes on through a header; true when it is whole: its CR and one byte more, whichever, have been passed. */
  #line(chunk: Uint8Array): boolean {
    const begin = this.offset;
    let at = begin;
    let whole = false;
    while (at < chunk.length && this.#lineBytes <= LINE_BYTES_MAX) {
      const byte = chunk[at++]!;
      if (this.#sawCr) {
        whole = true;
        break;
      }
      if (this.#lineBytes === 0) this.#type = byte;
      if (byte === CR && !this.#sawNul) {
        this.#sawCr = true;
      } else if (this.#lineBytes++ > 0) {
        this.#digit(byte);
      } else if (byte === 0) {
        this.#sawNul = true;
      }
    }
    this.offset = at;
    this.examinedBytes += at - begin;
    return whole;
  }

  #digit(byte: number): void {
    const digit = byte - ZERO;
    if (digit >= 0 && digit <= 9) {
      const afterZero = this.#digits > 0 && this.#number === 0;
      if (afterZero || (digit === 0 && this.#negative && this.#digits === 0)) this.#malformed = true;
      this.#number = this.#number * 10 + digit;
      this.#digits++;
    } else if (byte === MINUS && this.#digits === 0 && !this.#negative) {
      this.#negative = true;
    } else {
      this.#malformed = true;
      if (byte === 0) this.#sawNul = true;
    }
  }

  /** Whether the header's text is a number in the range of int64. */
  #isNumber(): boolean {
    return !this.#malformed && this.#digits > 0 && this.#number <= INT64_MAX;
  }

  #count(authenticated: boolean): Found | undefined {
    if (!this.#isNumber()) return this.#fail('invalid multibulk length');
    if (this.#negative || this.#number === 0) return 'nothing';
    if (this.#number > this.#limits.multibulkCountMax) return this.#fail('invalid multibulk length');
    if (!authenticated && this.#number > UNAUTHENTICATED_COUNT_MAX) {
      return this.#fail('unauthenticated multibulk length');
    }
    this.#argumentsLeft = this.#number;
    this.#startLine();
    this.#state = 'length';
    return undefined;
  }

  #length(from: number, authenticated: boolean): Found | undefined {
    // Only of a whole header, as in Redis: what is no `$` is told when its line has ended.
    if (this.#type !== DOLLAR) return this.#fail(`expected '$', got '${String.fromCharCode(this.#type)}'`);
    if (!this.#isNumber() || this.#negative || this.#number > this.#limits.protoMaxBulkLen) {
      return this.#fail('invalid bulk length');
    }
    if (!authenticated && this.#number > UNAUTHENTICATED_BULK_BYTES_MAX) {
      return this.#fail('unauthenticated bulk length');
    }
    this.#bodyLeft = this.#number + 2;
    const requestBytes = this.#requestBytes + (this.offset - from) + this.#bodyLeft;
    if (requestBytes > this.#limits.queryBufferBytesMax) return 'too-big';
    this.#state = 'body';
    return undefined;
  }

  #body(chunk: Uint8Array): Found | undefined {
    const step = Math.min(this.#bodyLeft, chunk.length - this.offset);
    this.offset += step;
    this.#bodyLeft -= step;
    if (this.#bodyLeft > 0) return 'more';
    this.#argumentsLeft--;
    if (this.#argumentsLeft === 0) return 'command';
    this.#startLine();
    this.#state = 'length';
    return undefined;
  }

  /** Goes on through an inline line; true when its LF has been passed. */
  #inline(chunk: Uint8Array): boolean {
    const begin = this.offset;
    let at = begin;
    let whole = false;
    while (!whole && at < chunk.length && this.#lineBytes <= LINE_BYTES_MAX) {
      const byte = chunk[at++]!;
      if (byte === 0) this.#sawNul = true;
      whole = byte === LF && !this.#sawNul;
      if (!whole) this.#lineBytes++;
    }
    this.offset = at;
    this.examinedBytes += at - begin;
    return whole;
  }
}

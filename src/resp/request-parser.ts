/**
 * Requests out of a client's bytes.
 *
 * The guard (request-guard.ts) finds where requests end, and redis-parser cuts them. It is handed whole requests only, in
 * one piece: most often a run of them, straight out of the chunk and without a copy. A request that spans chunks is
 * gathered here first, so that redis-parser never waits in the midst of one: then its shared pool, its half-filled
 * arrays and its error path are never reached, and what an unfinished request costs is its bytes on the wire and
 * nothing more. Every byte is copied at most twice, whatever the chunks.
 *
 * Inline commands do not go through redis-parser, which does not know them.
 *
 * Arguments are views, of the chunk (then they keep all of it alive) or of the gathered request. Who keeps them beyond
 * the request copies them.
 */
import { Buffer } from 'node:buffer';
import RedisParser from 'redis-parser';
import { assert } from '../lib/assert.ts';
import { asBuffer } from '../lib/bytes.ts';
import { splitInlineCommand } from './inline-command.ts';
import { type Found, RequestGuard, type RequestLimits } from './request-guard.ts';

export const DEFAULT_REQUEST_LIMITS: RequestLimits = {
  protoMaxBulkLen: 32 * 1024 * 1024,
  queryBufferBytesMax: 64 * 1024 * 1024,
  multibulkCountMax: 1024 * 1024,
};

/** Called from inside `feed`. None may call `feed`. After `onProtocolError` and `onTooBig` nothing more comes. */
export interface RequestParserOptions {
  readonly limits: RequestLimits;
  /** One request, at least one argument. */
  onRequest(argv: Uint8Array[]): void;
  /** The client does not speak RESP: the connection is to be closed after the reply `-ERR`, `message`. */
  onProtocolError(message: string): void;
  /** A request over `queryBufferBytesMax`: the connection is to be closed without a reply, as Redis does. */
  onTooBig(): void;
}

export class RequestParser {
  readonly #options: RequestParserOptions;
  readonly #guard: RequestGuard;
  readonly #parser: RedisParser;
  readonly #held = new HeldBytes();
  #feeding = false;
  #stopped = false;
  /** Requests that redis-parser has still to return of the bytes it was handed. */
  #expected = 0;
  /**
   * Strangers may send only small requests. Read before each request, so it may be set from inside `onRequest`: what
   * follows an AUTH in the same chunk is judged by what the AUTH came to.
   */
  authenticated = false;

  constructor(options: RequestParserOptions) {
    this.#options = options;
    this.#guard = new RequestGuard(options.limits);
    this.#parser = new RedisParser({
      returnBuffers: true,
      returnReply: (argv: Uint8Array[]) => this.#onParsed(argv),
      returnError: unreachableError,
      returnFatalError: unreachableError,
    });
  }

  /** Bytes of the request under way that are held here. */
  get bufferedBytes(): number {
    return this.#held.length;
  }

  /** Bytes looked at one by one, and bytes copied, since the beginning: what parsing has cost, told without a clock. */
  get workBytes(): number {
    return this.#guard.examinedBytes + this.#held.copiedBytes;
  }

  /** Further input is ignored, the rest of a chunk under way included; nothing more is called. */
  stop(): void {
    this.#stopped = true;
    this.#held.clear();
  }

  /** `chunk` becomes the parser's: it must not change any more. */
  feed(chunk: Uint8Array): void {
    assert(!this.#feeding, 'a callback of the parser does not feed it');
    this.#feeding = true;
    const bytes = asBuffer(chunk);
    // Whole requests not yet handed on lie in [runFrom, begin); the guard is at `begin`.
    let runFrom = 0;
    let runCount = 0;
    let begin = 0;
    let found: Found = 'nothing';
    while (!this.#stopped && found !== 'more') {
      found = this.#guard.scan(bytes, begin, this.authenticated);
      const end = this.#guard.offset;
      if (found === 'command' && this.authenticated && this.#held.length === 0) {
        runCount++;
      } else {
        this.#parse(bytes.subarray(runFrom, begin), runCount);
        this.#take(found, bytes.subarray(begin, end));
        runFrom = end;
        runCount = 0;
      }
      begin = end;
    }
    this.#feeding = false;
  }

  /** `part` is what the last scan passed, the end of a request perhaps whose beginning is held. */
  #take(found: Found, part: Buffer): void {
    if (this.#stopped) return;
    switch (found) {
      case 'more':
        this.#held.append(part);
        return;
      case 'nothing':
        this.#held.clear();
        return;
      case 'command':
        this.#parse(this.#whole(part), 1);
        return;
      case 'inline':
        this.#onLine(this.#whole(part));
        return;
      case 'error':
        this.stop();
        this.#options.onProtocolError(`Protocol error: ${this.#guard.error}`);
        return;
      case 'too-big':
        this.stop();
        this.#options.onTooBig();
        return;
    }
  }

  #whole(part: Buffer): Buffer {
    if (this.#held.length === 0) return part;
    this.#held.append(part);
    return this.#held.take();
  }

  #parse(requests: Buffer, count: number): void {
    if (count === 0 || this.#stopped) return;
    this.#expected = count;
    this.#parser.execute(requests);
    assert(this.#expected === 0, 'redis-parser cuts as many requests as the guard has found', this.#expected);
  }

  #onParsed(argv: Uint8Array[]): void {
    assert(this.#expected > 0, 'redis-parser returns requests only from inside execute');
    this.#expected--;
    if (!this.#stopped) this.#options.onRequest(argv);
  }

  #onLine(line: Buffer): void {
    let end = line.length - 1;
    if (end > 0 && line[end - 1] === 13) end--;
    const argv = splitInlineCommand(line.subarray(0, end));
    if (argv === undefined) {
      this.stop();
      this.#options.onProtocolError('Protocol error: unbalanced quotes in request');
    } else if (argv.length > 0) {
      this.#options.onRequest(argv);
    }
  }
}

function unreachableError(error: Error): void {
  assert(false, 'the guard lets nothing pass that redis-parser refuses', error.message);
}

const BLOCK_BYTES_MIN = 4 * 1024;
const BLOCK_BYTES_MAX = 1024 * 1024;
const NOTHING = asBuffer(new Uint8Array(0));

/**
 * The bytes of an unfinished request, copied into blocks of growing size. Not kept as the chunks they came in: a
 * chunk of one byte may pin 64 KB. Not in one buffer that doubles: that would need three times the room.
 */
class HeldBytes {
  #blocks: Buffer[] = [];
  #last = NOTHING;
  /** Bytes used of the last block; the others are full. */
  #used = 0;
  length = 0;
  copiedBytes = 0;

  append(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#used === this.#last.length) this.#addBlock(bytes.length - at);
      const copied = bytes.copy(this.#last, this.#used, at);
      this.#used += copied;
      at += copied;
    }
    this.length += bytes.length;
    this.copiedBytes += bytes.length;
  }

  /** All of them in one piece, which is the caller's. */
  take(): Buffer {
    this.#blocks[this.#blocks.length - 1] = this.#last.subarray(0, this.#used);
    const whole = this.#blocks.length === 1 ? this.#blocks[0]! : concat(this.#blocks, this.length);
    if (this.#blocks.length > 1) this.copiedBytes += this.length;
    this.clear();
    return whole;
  }

  clear(): void {
    if (this.length === 0) return;
    this.#blocks = [];
    this.#last = NOTHING;
    this.#used = 0;
    this.length = 0;
  }

  #addBlock(wanted: number): void {
    const size = Math.max(wanted, BLOCK_BYTES_MIN, Math.min(this.length, BLOCK_BYTES_MAX));
    this.#last = Buffer.allocUnsafeSlow(size);
    this.#used = 0;
    this.#blocks.push(this.#last);
  }
}

function concat(blocks: readonly Buffer[], length: number): Buffer {
  const whole = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for (const block of blocks) at += block.copy(whole, at);
  return whole;
}

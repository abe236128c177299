/**
 * Replies out of bytes: the other end of encode.ts, for tests, the command line and the cluster launcher.
 *
 * Strict: what is not RESP2 or RESP3 is a `MalformedError`. Arrays, sets and maps under way lie on a stack, so each byte
 * is decoded once however the bytes are cut. It trusts the server not to send without end; a server's requests are cut
 * by request-parser.ts.
 */
import { asBuffer, latin1, MalformedError } from '../lib/bytes.ts';
import {
  BooleanReply,
  DoubleReply,
  ErrorReply,
  MapReply,
  NullArrayReply,
  type Reply,
  SetReply,
  VerbatimReply,
} from './reply.ts';

const DEPTH_MAX = 32;

/** An array, set, map, push or attribute whose items are still to come, in a map keys and values. */
interface Frame {
  readonly type: string;
  readonly items: Reply[];
  readonly count: number;
}

export class ReplyDecoder {
  readonly #onReply: (reply: Reply) => void;
  readonly #onPush: ((items: readonly Reply[]) => void) | undefined;
  readonly #frames: Frame[] = [];
  /** What has come and is not decoded yet; never more than one token once `#bytes` is looked at. */
  #chunks: Buffer[] = [];
  #length = 0;
  /** With fewer bytes the token under way cannot be whole. */
  #lengthWanted = 1;
  #bytes: Buffer = concat([], 0);
  #offset = 0;

  /** Calls `onReply` for every whole reply, `onPush` (RESP3 `>`) for every message that answers no request. */
  constructor(onReply: (reply: Reply) => void, onPush?: (items: readonly Reply[]) => void) {
    this.#onReply = onReply;
    this.#onPush = onPush;
  }

  /** Whether everything that has come was whole replies. */
  get idle(): boolean {
    return this.#length === 0 && this.#frames.length === 0;
  }

  /** `chunk` becomes the decoder's; bulk strings are views of it. Throws MalformedError; then the decoder is of no use. */
  feed(chunk: Uint8Array): void {
    this.#chunks.push(asBuffer(chunk));
    this.#length += chunk.length;
    if (this.#length < this.#lengthWanted) return;
    this.#bytes = this.#chunks.length === 1 ? this.#chunks[0]! : concat(this.#chunks, this.#length);
    let begin = 0;
    this.#offset = 0;
    this.#lengthWanted = 1;
    while (begin < this.#bytes.length && this.#token(begin)) begin = this.#offset;
    this.#chunks = [this.#bytes.subarray(begin)];
    this.#length = this.#bytes.length - begin;
  }

  /** Decodes the token at `begin`; false when it is not whole yet. */
  #token(begin: number): boolean {
    const type = String.fromCharCode(this.#bytes[begin]!);
    this.#offset = begin + 1;
    const line = this.#line();
    if (line === undefined) return this.#wait(this.#bytes.length - begin + 1);
    if ('*~%>|'.includes(type)) {
      this.#open(type, count(type, line));
      return true;
    }
    if (!'$!='.includes(type)) {
      this.#complete(scalar(type, line));
      return true;
    }
    const length = count(type, line);
    if (length < 0) {
      this.#complete(null);
      return true;
    }
    const end = this.#offset + length;
    if (end + 2 > this.#bytes.length) return this.#wait(end + 2 - begin);
    if (this.#bytes[end] !== 13 || this.#bytes[end + 1] !== 10)
      throw new MalformedError('no line end after a bulk string');
    const body = this.#bytes.subarray(this.#offset, end);
    this.#offset = end + 2;
    this.#complete(blob(type, body));
    return true;
  }

  #wait(length: number): false {
    this.#lengthWanted = length;
    return false;
  }

  #line(): string | undefined {
    const end = this.#bytes.indexOf(10, this.#offset);
    if (end < 0) return undefined;
    const line = latin1(this.#bytes.subarray(this.#offset, end - 1));
    if (this.#bytes[end - 1] !== 13 || end === this.#offset || line.includes('\r')) {
      throw new MalformedError('a line ends with CR and LF, and holds neither');
    }
    this.#offset = end + 1;
    return line;
  }

  #open(type: string, size: number): void {
    if (this.#frames.length === DEPTH_MAX)
      throw new MalformedError(`replies nested more than ${DEPTH_MAX} deep`);
    if (type === '>' && this.#frames.length > 0) throw new MalformedError('a push inside a reply');
    if (size < 0) {
      this.#complete(NullArrayReply.instance);
      return;
    }
    this.#frames.push({ type, items: [], count: type === '%' || type === '|' ? size * 2 : size });
    this.#close();
  }

  /** A value is whole: it goes to where it belongs, which may be whole by that. */
  #complete(reply: Reply): void {
    const frame = this.#frames.at(-1);
    if (frame === undefined) {
      this.#onReply(reply);
    } else {
      frame.items.push(reply);
      this.#close();
    }
  }

  #close(): void {
    const frame = this.#frames.at(-1);
    if (frame === undefined || frame.items.length < frame.count) return;
    this.#frames.pop();
    if (frame.type === '>') this.#onPush?.(frame.items);
    // Attributes only accompany the reply that follows.
    else if (frame.type !== '|') this.#complete(composed(frame));
  }
}

/** The one reply that `bytes` are. Throws MalformedError when they are less or more than that. */
export function decodeReply(bytes: Uint8Array): Reply {
  const replies: Reply[] = [];
  const decoder = new ReplyDecoder((reply) => replies.push(reply));
  decoder.feed(bytes);
  if (replies.length !== 1 || !decoder.idle) throw new MalformedError('not exactly one reply');
  return replies[0]!;
}

/** -1 is for the nulls of RESP2. */
function count(type: string, line: string): number {
  const nullable = type === '*' || type === '$';
  if (!/^(0|[1-9]\d{0,11})$/.test(line) && !(nullable && line === '-1')) {
    throw new MalformedError(`${JSON.stringify(line)} is no length`);
  }
  return Number(line);
}

function composed(frame: Frame): Reply {
  if (frame.type === '*') return frame.items;
  if (frame.type === '~') return new SetReply(frame.items);
  const pairs: [Reply, Reply][] = [];
  for (let index = 0; index < frame.count; index += 2)
    pairs.push([frame.items[index]!, frame.items[index + 1]!]);
  return new MapReply(pairs);
}

function blob(type: string, body: Buffer): Reply {
  if (type === '$') return body;
  if (type === '!') return errorReply(latin1(body));
  const format = latin1(body.subarray(0, 4));
  if (format !== 'txt:' && format !== 'mkd:') throw new MalformedError('verbatim text is txt or mkd');
  return new VerbatimReply(format === 'txt:' ? 'txt' : 'mkd', body.toString('utf8', 4));
}

function scalar(type: string, line: string): Reply {
  switch (type) {
    case '+':
      return line;
    case '-':
      return errorReply(line);
    case ':':
      return integer(line);
    case '(':
      return BigInt(matched(line, /^-?\d+$/));
    case ',':
      return double(line);
    case '#':
      return new BooleanReply(matched(line, /^[tf]$/) === 't');
    case '_':
      matched(line, /^$/);
      return null;
    default:
      throw new MalformedError(`no reply begins with ${JSON.stringify(type)}`);
  }
}

function matched(line: string, form: RegExp): string {
  if (!form.test(line)) throw new MalformedError(`${JSON.stringify(line)} is not ${form}`);
  return line;
}

function integer(line: string): number | bigint {
  const value = Number(matched(line, /^[+-]?\d{1,19}$/));
  return Number.isSafeInteger(value) ? value : BigInt(line);
}

function double(line: string): DoubleReply {
  const special = new Map([
    ['inf', Number.POSITIVE_INFINITY],
    ['-inf', Number.NEGATIVE_INFINITY],
    ['nan', Number.NaN],
  ]);
  return new DoubleReply(special.get(line) ?? Number(matched(line, /^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$/)));
}

function concat(chunks: readonly Buffer[], length: number): Buffer {
  const whole = asBuffer(new Uint8Array(length));
  let at = 0;
  for (const chunk of chunks) at += chunk.copy(whole, at);
  return whole;
}

function errorReply(line: string): ErrorReply {
  const space = line.indexOf(' ');
  return space < 0 ? new ErrorReply(line, '') : new ErrorReply(line.slice(0, space), line.slice(space + 1));
}

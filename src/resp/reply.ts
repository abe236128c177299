/**
 * Replies as values, free of the protocol version they will be written in.
 *
 * A command returns one of these; `encode.ts` writes it as RESP2 or RESP3, whichever the client speaks. Plain JavaScript
 * values stand for the common ones, so that the hot path allocates nothing:
 *
 *   number, bigint   integer                       `:1`
 *   string           simple string (status)        `+OK`
 *   Uint8Array       bulk string                   `$3 foo`
 *   null             null bulk                     `$-1`   RESP3 `_`
 *   Reply[]          array                         `*n`
 *   ErrorReply       error                         `-ERR ...`
 *
 * Source: the RESP3 specification and Redis 7.0's networking.c.
 */

export type Reply =
  | string
  | number
  | bigint
  | Uint8Array
  | null
  | readonly Reply[]
  | ErrorReply
  | NullArrayReply
  | MapReply
  | SetReply
  | DoubleReply
  | VerbatimReply
  | BooleanReply
  | EncodedArrayReply
  | BigNumberReply
  | AttributedReply;

export const OK = 'OK';

/** `code` is the first word of an error (`ERR`, `WRONGTYPE`); neither part may hold CR or LF. */
export class ErrorReply {
  readonly code: string;
  readonly message: string;

  constructor(code: string, message: string) {
    this.code = code;
    this.message = message;
  }
}

/** The missing array: `*-1` in RESP2, `_` in RESP3. */
export class NullArrayReply {
  static readonly instance = new NullArrayReply();
}

/** Pairs in order: a flat array in RESP2, `%` in RESP3. */
export class MapReply {
  readonly pairs: readonly (readonly [Reply, Reply])[];

  constructor(pairs: readonly (readonly [Reply, Reply])[]) {
    this.pairs = pairs;
  }
}

/** An array in RESP2, `~` in RESP3. */
export class SetReply {
  readonly members: readonly Reply[];

  constructor(members: readonly Reply[]) {
    this.members = members;
  }
}

/** A bulk string in RESP2, `,` in RESP3. */
export class DoubleReply {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

/** Text for people with a three-letter format: a bulk string in RESP2, `=` in RESP3. */
export class VerbatimReply {
  readonly format: 'txt' | 'mkd';
  readonly text: string;

  constructor(format: 'txt' | 'mkd', text: string) {
    this.format = format;
    this.text = text;
  }
}

/** `:0` or `:1` in RESP2, `#f` or `#t` in RESP3. */
export class BooleanReply {
  readonly value: boolean;

  constructor(value: boolean) {
    this.value = value;
  }
}

/** An integer of any size: a bulk string in RESP2, `(` in RESP3. */
export class BigNumberReply {
  readonly value: bigint;

  constructor(value: bigint) {
    this.value = value;
  }
}

/** A reply with pairs before it that say something about it: `|` in RESP3. In RESP2 they are left out. */
export class AttributedReply {
  readonly attributes: readonly (readonly [Reply, Reply])[];
  readonly reply: Reply;

  constructor(attributes: readonly (readonly [Reply, Reply])[], reply: Reply) {
    this.attributes = attributes;
    this.reply = reply;
  }
}

/** A long array of bulk strings that was written while it was made; the same in both protocols. */
export class EncodedArrayReply {
  readonly count: number;
  readonly chunks: readonly Uint8Array[];

  constructor(count: number, chunks: readonly Uint8Array[]) {
    this.count = count;
    this.chunks = chunks;
  }
}

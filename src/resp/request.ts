/**
 * One request on its way: made by the connection, executed by the handler, answered once.
 *
 * One object per command, no promise and no closure: at tens of thousands of commands a second these are what the
 * garbage collector sees.
 */
import { assert } from '../lib/assert.ts';
import type { Client } from './client.ts';
import type { Reply } from './reply.ts';

/**
 * How a request may overlap with others of its connection. Consecutive reads may be in flight together, and so may
 * consecutive writes; a read behind a write waits for the write, and a write behind a read for the read. `local` ones
 * (PING) start whatever is in flight. A `barrier` (AUTH, SELECT, QUIT) starts when everything before it is answered, and
 * what follows waits for it.
 */
export type RequestKind = 'read' | 'write' | 'local' | 'barrier';

export interface RequestHandler {
  /** Called when everything before the request has been started and no barrier is in flight. */
  classify(argv: readonly Uint8Array[], client: Client): RequestKind;
  /**
   * Whether the request may not start yet (CLIENT PAUSE). Once that may have changed the handler calls `resume` on the
   * connections.
   */
  holds(request: Request): boolean;
  /**
   * Answers with `request.resolve`, once, now or later. Reads and writes in flight together take effect in the order of
   * these calls. `argv` are views of what the socket gave: fine while the request is in flight, to be copied by who keeps
   * them longer.
   */
  execute(request: Request): void;
  /** No more reads and writes, please. Once this is false again the handler calls `resume` on the connections. */
  readonly congested: boolean;
}

/** What a request tells of its end. */
export interface RequestOwner {
  onAnswered(request: Request): void;
}

/** Hears the reply to a request, before the client does. */
export interface AnswerObserver {
  onAnswered(request: Request): void;
}

export class Request {
  readonly argv: readonly Uint8Array[];
  readonly client: Client;
  /** What its arguments cost in memory. */
  readonly bytes: number;
  kind: RequestKind | undefined;
  state: 'queued' | 'started' | 'answered' = 'queued';
  /** Once answered, until it is written. */
  reply: Reply = null;
  /** Both are the handler's to set. */
  observer: AnswerObserver | undefined;
  startedAtMs = 0;
  readonly #owner: RequestOwner;

  constructor(owner: RequestOwner, client: Client, argv: readonly Uint8Array[], bytes: number) {
    this.#owner = owner;
    this.client = client;
    this.argv = argv;
    this.bytes = bytes;
  }

  /** Also when the client is gone meanwhile: then the reply is dropped. */
  resolve(reply: Reply): void {
    assert(this.state === 'started', 'a request is answered once, after it was started', this.state);
    this.state = 'answered';
    this.reply = reply;
    this.observer?.onAnswered(this);
    this.#owner.onAnswered(this);
  }
}

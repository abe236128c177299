/**
 * One client's connection: bytes in, requests out to the handler, replies back in the order of the requests.
 *
 *   onData -> parser -> [ answered | started | queued ] -> writer -> one write at the end of the turn
 *                        ^ head      ^ next
 *
 * Requests wait in one queue. `#next` is the first that has not been started; what may start beside what is told in
 * request.ts. `#head` is the first whose reply has not been written: replies that come early wait in their slots.
 *
 * What a client can cost is bounded. The socket is not read while more than `requestsMax` requests or `requestBytesMax`
 * bytes of them wait or are in flight, or while the handler is congested; what the last chunk held beyond that waits in
 * the queue. While more than `outputBytesMax` of replies are not taken, no further request is started, and none read.
 * As long as the socket has not taken the last write there is no next one: replies gather here, in one buffer,
 * not in a row of small ones.
 *
 * What is sent unasked (`push`) cannot be held back like that. It goes into the same buffer, between two replies, and a
 * client that does not read what it has asked for is disconnected at the limit of its class.
 */
import { assert } from '../lib/assert.ts';
import type { Clock, Connection, Log } from '../lib/env.ts';
import type { Client, ClientClass, ClientOutlet, OutputBuffers } from './client.ts';
import { encodeReply } from './encode.ts';
import { ErrorReply, type Reply } from './reply.ts';
import { ReplyWriter } from './reply-writer.ts';
import { Request, type RequestHandler, type RequestKind } from './request.ts';
import { ARGUMENT_OVERHEAD_BYTES, type RequestLimits } from './request-guard.ts';
import { DEFAULT_REQUEST_LIMITS, RequestParser } from './request-parser.ts';

export interface ConnectionLimits {
  readonly request: RequestLimits;
  readonly requestsMax: number;
  readonly requestBytesMax: number;
  readonly outputBytesMax: number;
  /** Redis's client-output-buffer-limit, as it is at the moment. */
  readonly outputLimitOf: (clientClass: ClientClass) => OutputLimit;
}

/** What may wait for a client before it is disconnected: `hardBytes` at no time, `softBytes` for a while; 0: any. */
export interface OutputLimit {
  readonly hardBytes: number;
  readonly softBytes: number;
  readonly softSeconds: number;
}

export const DEFAULT_CONNECTION_LIMITS: ConnectionLimits = {
  request: DEFAULT_REQUEST_LIMITS,
  requestsMax: 1024,
  requestBytesMax: 4 * 1024 * 1024,
  outputBytesMax: 4 * 1024 * 1024,
  outputLimitOf: () => ({ hardBytes: 0, softBytes: 0, softSeconds: 0 }),
};

/** What a request costs beside its arguments: the Request, its argv and its slot in the queue. */
const REQUEST_OVERHEAD_BYTES = 200;
/** Replies to reads in flight may be large, and nobody knows how large before they are there. */
const READS_IN_FLIGHT_MAX = 64;
/** A request of more arguments is started in a turn of its own. */
const LONG_REQUEST_ARGUMENTS = 65_536;
/** The answered part of the queue is cut off when it is so long and more than half of it. */
const QUEUE_CUT_MIN = 256;

export interface ClientConnectionOptions {
  readonly connection: Connection;
  readonly client: Client;
  readonly handler: RequestHandler;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: ConnectionLimits;
  /** The client is gone, or is destroyed; requests in flight will still be answered, into nothing. Called once. */
  onClose(): void;
}

export class ClientConnection implements ClientOutlet {
  readonly client: Client;
  readonly #connection: Connection;
  readonly #handler: RequestHandler;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #limits: ConnectionLimits;
  readonly #onClose: () => void;
  readonly #parser: RequestParser;
  readonly #writer = new ReplyWriter();
  readonly #flushAtEndOfTurn: () => void;

  /**
   * `ending`: nothing more is owed, input is ignored; `ended`: the socket was told to close; `closed`: it has, or nothing
   * that it does is of interest any more.
   */
  #state: 'open' | 'ending' | 'ended' | 'closed' = 'open';
  #queue: Request[] = [];
  #head = 0;
  #next = 0;
  /** Of the requests from #head on. */
  #requestBytes = 0;

  /** Started and not answered: all of them, and the reads or the writes among them, which are never both. */
  #inFlight = 0;
  #orderedInFlight = 0;
  #orderedKind: RequestKind = 'read';
  #barrierInFlight = false;

  /** The reply after which the connection ends: the client has broken the protocol at this place. */
  #protocolError: ErrorReply | undefined;
  /** No more requests will come. */
  #inputEnded = false;
  #paused = false;
  #starting = false;
  #flushScheduled = false;
  /** Since when the soft limit has been exceeded, without a break. */
  #softSinceMs: number | undefined;

  /** Takes over the connection: to be called inside the listener's `onConnection`. */
  constructor(options: ClientConnectionOptions) {
    this.client = options.client;
    this.#connection = options.connection;
    this.#handler = options.handler;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#limits = options.limits;
    this.#onClose = options.onClose;
    this.client.outlet = this;
    this.#flushAtEndOfTurn = () => {
      this.#flushScheduled = false;
      this.#flush();
    };
    this.#parser = new RequestParser({
      limits: options.limits.request,
      onRequest: (argv) => this.#onRequest(argv),
      onProtocolError: (message) => this.#onProtocolError(message),
      onTooBig: () => this.#cutOff('a client has reached the limit of its query buffer'),
    });
    this.#parser.authenticated = this.client.authenticated;
    this.#connection.handle({
      onData: (bytes) => this.#onData(bytes),
      onEnd: () => this.finish(),
      onDrain: () => this.#flush(),
      onClose: () => this.#leave(),
    });
  }

  /** Nothing is asked and not answered. */
  get idle(): boolean {
    return this.#inFlight === 0 && this.#next === this.#queue.length;
  }

  /** The handler is no longer congested, or holds back no more. */
  resume(): void {
    this.#advance();
  }

  /** Takes no more requests, answers those that have come, then closes. */
  finish(): void {
    if (this.#state !== 'open') return;
    this.#inputEnded = true;
    this.#parser.stop();
    this.#advance();
  }

  /** Closes at once, without the replies that are owed. */
  destroy(): void {
    if (this.#state === 'closed') return;
    this.#connection.destroy();
    this.#leave();
  }

  push(bytes: Uint8Array): void {
    if (this.#state !== 'open') return;
    this.#writer.bytes(bytes);
    this.#scheduleFlush();
    this.limitOutput();
  }

  get output(): OutputBuffers {
    const { bytes, peakBytes, used, chunks } = this.#writer.buffers;
    const { backlogBytes } = this.#connection;
    return {
      ...{ bufferBytes: bytes, bufferPeakBytes: peakBytes, bufferedBytes: used },
      chunks: chunks + (backlogBytes > 0 ? 1 : 0),
      chunkBytes: this.#outputBytes - used,
    };
  }

  /** Disconnects a client for which too much waits. Also to be called now and then, since the soft limit is one of time. */
  limitOutput(): void {
    if (this.#state !== 'open') return;
    const { hardBytes, softBytes, softSeconds } = this.#limits.outputLimitOf(this.client.outputClass);
    if (hardBytes === 0 && softBytes === 0) {
      this.#softSinceMs = undefined;
      return;
    }
    const bytes = this.#outputBytes;
    const nowMs = this.#clock.monotonicMs();
    if (softBytes === 0 || bytes < softBytes) this.#softSinceMs = undefined;
    else this.#softSinceMs ??= nowMs;
    const softMs = this.#softSinceMs === undefined ? 0 : nowMs - this.#softSinceMs;
    if ((hardBytes > 0 && bytes >= hardBytes) || softMs > softSeconds * 1000) {
      this.#cutOff('a client was disconnected at its output buffer limit');
    }
  }

  #onData(bytes: Uint8Array): void {
    if (this.#state !== 'open') return;
    this.client.lastInteractionMs = this.#clock.monotonicMs();
    this.client.bytesIn += bytes.length;
    this.#parser.feed(bytes);
    this.client.queryBytes = this.#parser.bufferedBytes;
    this.#advance();
  }

  #onRequest(argv: Uint8Array[]): void {
    if (isCrossProtocol(argv[0]!)) {
      this.#cutOff('possible SECURITY ATTACK: a client sends the HTTP words POST or Host:');
      return;
    }
    let bytes = REQUEST_OVERHEAD_BYTES;
    for (const arg of argv) bytes += arg.length + ARGUMENT_OVERHEAD_BYTES;
    this.#queue.push(new Request(this, this.client, argv, bytes));
    this.#requestBytes += bytes;
    // To cut so many arguments was work enough for one turn.
    if (argv.length > LONG_REQUEST_ARGUMENTS) this.#clock.after(0, () => this.#advance());
    else this.#start();
    // What follows in the same chunk is judged by what this request came to.
    this.#parser.authenticated = this.client.authenticated;
  }

  #onProtocolError(message: string): void {
    this.#log.verbose('protocol error', { client: this.client.id, address: this.client.address, message });
    this.#protocolError = new ErrorReply('ERR', message);
    this.#inputEnded = true;
  }

  /** Closes at once, as Redis does where it gives no reply. */
  #cutOff(event: string): void {
    this.#log.warning(event, { client: this.client.id, address: this.client.address });
    this.destroy();
  }

  /** Everything that may go on now goes on. */
  #advance(): void {
    this.#start();
    if (this.#state === 'open' && this.#inputEnded && this.#head === this.#queue.length) {
      if (this.#protocolError !== undefined) this.#writeReply(this.#protocolError);
      this.#end();
    }
    this.client.argvBytes = this.#requestBytes;
    this.client.outputBytes = this.#outputBytes;
    this.#regulate();
  }

  /** Starts what may start, in order. */
  #start(): void {
    // A request answered inside `execute` comes back here: the loop below goes on with the next.
    if (this.#starting) return;
    this.#starting = true;
    let held = false;
    while (this.#state === 'open' && this.#next < this.#queue.length && !this.#outputIsFull) {
      const request = this.#queue[this.#next]!;
      if (this.#barrierInFlight) break;
      request.kind ??= this.#handler.classify(request.argv, this.client);
      if (!this.#mayStart(request.kind)) break;
      held = this.#handler.holds(request);
      if (held) break;
      this.#next++;
      this.#execute(request, request.kind);
    }
    this.client.held = held;
    this.#starting = false;
  }

  #mayStart(kind: RequestKind): boolean {
    if (kind === 'local') return true;
    if (kind === 'barrier') return this.#inFlight === 0;
    if (kind === 'read' && this.#orderedInFlight >= READS_IN_FLIGHT_MAX) return false;
    return !this.#handler.congested && (this.#orderedInFlight === 0 || this.#orderedKind === kind);
  }

  #execute(request: Request, kind: RequestKind): void {
    this.#inFlight++;
    if (kind === 'barrier') {
      this.#barrierInFlight = true;
    } else if (kind !== 'local') {
      this.#orderedInFlight++;
      this.#orderedKind = kind;
    }
    request.state = 'started';
    this.#handler.execute(request);
  }

  /** Called by the request itself. */
  onAnswered(request: Request): void {
    this.#inFlight--;
    if (request.kind === 'barrier') this.#barrierInFlight = false;
    else if (request.kind !== 'local') this.#orderedInFlight--;
    assert(this.#inFlight >= this.#orderedInFlight && this.#orderedInFlight >= 0, 'answers match requests');
    if (this.#state !== 'open') return;
    this.#writeReplies();
    if (!this.#starting) this.#advance();
  }

  /** Replies of answered requests, as far as no earlier one is open. */
  #writeReplies(): void {
    while (this.#head < this.#next && this.#queue[this.#head]!.state === 'answered') {
      const request = this.#queue[this.#head++]!;
      this.#requestBytes -= request.bytes;
      this.#writeReply(request.reply);
      if (this.client.closeAfterReply) {
        this.#end();
        return;
      }
    }
    this.#cutQueue();
    if (this.#writer.length === 0) return;
    this.#scheduleFlush();
    this.limitOutput();
  }

  #writeReply(reply: Reply): void {
    if (this.client.takesReply()) encodeReply(reply, this.client.protocol, this.#writer);
  }

  #cutQueue(): void {
    if (this.#head === this.#queue.length) {
      this.#queue = [];
    } else if (this.#head >= QUEUE_CUT_MIN && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
    } else {
      return;
    }
    this.#next -= this.#head;
    this.#head = 0;
  }

  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    this.#clock.endOfTurn(this.#flushAtEndOfTurn);
  }

  #flush(): void {
    if (this.#state !== 'open' && this.#state !== 'ending') return;
    // Until the socket is drained replies gather in the writer; but nothing comes after the last ones.
    if (this.#connection.backlogBytes > 0 && this.#state !== 'ending') return;
    this.client.bytesOut += this.#writer.length;
    for (const chunk of this.#writer.take()) this.#connection.write(chunk);
    if (this.#state === 'open') {
      this.#advance();
    } else {
      this.#state = 'ended';
      this.#connection.end();
    }
  }

  /** Nothing is owed any more but what the writer holds: that is sent, then the connection closes. */
  #end(): void {
    this.#state = 'ending';
    this.#parser.stop();
    this.#dropRequests();
    this.#scheduleFlush();
    this.#regulate();
  }

  /** The socket has closed, or was destroyed: that it has closed is then no news. */
  #leave(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#parser.stop();
    this.#dropRequests();
    this.#writer.clear();
    this.#onClose();
  }

  /** Those not started never will be; those in flight are answered into nothing. */
  #dropRequests(): void {
    this.#queue = [];
    this.#head = 0;
    this.#next = 0;
    this.#requestBytes = 0;
  }

  get #outputBytes(): number {
    return this.#writer.length + this.#connection.backlogBytes;
  }

  get #outputIsFull(): boolean {
    return this.#outputBytes > this.#limits.outputBytesMax;
  }

  /** Holds the other side back, or lets it go on, with some way between the two. */
  #regulate(): void {
    if (this.#state !== 'open' && this.#state !== 'ending') return;
    // An ending connection reads on, and ignores it: else it would not see the other side's end.
    const share = this.#paused ? 0.5 : 1;
    const full = this.#state === 'open' && (this.#handler.congested || this.#fuller(share));
    if (full === this.#paused) return;
    this.#paused = full;
    if (full) this.#connection.pause();
    else this.#connection.resume();
  }

  #fuller(share: number): boolean {
    return (
      this.#queue.length - this.#head > this.#limits.requestsMax * share ||
      this.#requestBytes > this.#limits.requestBytesMax * share ||
      this.#outputBytes > this.#limits.outputBytesMax * share
    );
  }
}

/**
 * A web page can make a browser send HTTP to a port of its choice. The words with which such a request, or the part of it
 * that its author cannot choose, begins close the connection. (Redis 7.0, securityWarningCommand.)
 */
function isCrossProtocol(name: Uint8Array): boolean {
  if (name.length === 4) return (name[0]! | 32) === 112 && lowerCase(name) === 'post';
  return name.length === 5 && (name[0]! | 32) === 104 && lowerCase(name) === 'host:';
}

function lowerCase(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes).toLowerCase();
}

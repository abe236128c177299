/**
 * A client as the server knows it: what HELLO, AUTH, SELECT and CLIENT set, and what CLIENT LIST shows.
 *
 * The connection (connection.ts) keeps the counters, the commands change the rest.
 */
import type { Address } from '../lib/env.ts';
import type { Protocol } from './encode.ts';

/** Classes of clients have limits of their own to what waits for them. Who is sent what it did not ask for is `pubsub`. */
export type ClientClass = 'normal' | 'pubsub';

/** A client's connection, for those who have to do with the client but not with its requests. */
export interface ClientOutlet {
  /**
   * Sends what answers no request: a message, a line of MONITOR. It goes behind the replies that are written and before
   * those that are not, never into the midst of one. `bytes` must not change any more.
   */
  push(bytes: Uint8Array): void;
  /** Closes at once, without the replies that are owed. */
  destroy(): void;
  /** What waits to be sent, for CLIENT LIST. */
  readonly output: OutputBuffers;
}

export interface OutputBuffers {
  /** Of the buffer in which small replies gather: its size, the size that the last one came to be, and what is in it. */
  readonly bufferBytes: number;
  readonly bufferPeakBytes: number;
  readonly bufferedBytes: number;
  /** Chunks and their bytes that wait beside it, those included that the operating system has not taken. */
  readonly chunks: number;
  readonly chunkBytes: number;
}

const NO_OUTPUT: OutputBuffers = {
  ...{ bufferBytes: 0, bufferPeakBytes: 0, bufferedBytes: 0, chunks: 0, chunkBytes: 0 },
};

export class Client {
  /** Unique in this server's life, growing. */
  readonly id: number;
  readonly address: string;
  readonly localAddress: string;
  /** By the monotonic clock. */
  readonly createdAtMs: number;
  lastInteractionMs: number;

  name = '';
  db = 0;
  protocol: Protocol = 2;
  /** Also true when no password is asked for. */
  authenticated: boolean;
  user = 'default';
  libName = '';
  libVer = '';
  /** Lower case, a subcommand after a bar: `client|list`. Set by who looks the command up. */
  lastCommand = 'NULL';
  /** Set by QUIT: the connection closes once the reply to the present request has been sent. */
  closeAfterReply = false;
  /** Set by the connection that serves the client. */
  outlet: ClientOutlet | undefined;
  /** CLIENT NO-EVICT. No client is ever evicted here; it is kept to be shown. */
  noEvict = false;
  /** It gets a line for every command: see server/monitor.ts. */
  monitoring = false;
  /** Its next request waits for the end of a CLIENT PAUSE. */
  held = false;
  /** Set while a command that blocks (WAIT) waits: ends that as if its time were over, or with an error. */
  unblock: ((reason: 'timeout' | 'error') => void) | undefined;
  /** Channels, patterns and shard channels that it is subscribed to. */
  subscriptions = { channels: 0, patterns: 0, shardChannels: 0 };
  /** Commands queued since MULTI, and their bytes; -1: it is in no transaction. */
  queued = -1;
  queuedBytes = 0;

  /** CLIENT REPLY ON and OFF. */
  repliesOff = false;
  /** CLIENT REPLY SKIP: so many of the replies to come are not sent. */
  #repliesToSkip = 0;

  bytesIn = 0;
  bytesOut = 0;
  /** Bytes of an unfinished request, and of requests that wait or are executed. */
  queryBytes = 0;
  argvBytes = 0;
  /** Bytes of replies that the client has not taken yet. */
  outputBytes = 0;

  constructor(options: {
    id: number;
    remote: Address;
    local: Address;
    nowMs: number;
    authenticated: boolean;
  }) {
    this.id = options.id;
    this.address = addressText(options.remote);
    this.localAddress = addressText(options.local);
    this.createdAtMs = options.nowMs;
    this.lastInteractionMs = options.nowMs;
    this.authenticated = options.authenticated;
  }

  /** RESET: back to what it was on connecting; `authenticated` tells whether no password is asked for. */
  reset(authenticated: boolean): void {
    this.name = '';
    this.db = 0;
    this.protocol = 2;
    this.authenticated = authenticated;
    this.user = 'default';
    this.repliesOff = false;
  }

  /** The next `count` replies will not be sent: that to the present request is the first of them. */
  skipReplies(count: number): void {
    this.#repliesToSkip = count;
  }

  /** Called once for each reply: whether the client is to get it. */
  takesReply(): boolean {
    const skipped = this.#repliesToSkip > 0;
    if (skipped) this.#repliesToSkip--;
    return !skipped && !this.repliesOff;
  }

  /** It has asked for silence, whatever there is to say. */
  get silent(): boolean {
    return this.repliesOff || this.#repliesToSkip > 0;
  }

  get blocked(): boolean {
    return this.held || this.unblock !== undefined;
  }

  get subscribed(): boolean {
    const { channels, patterns, shardChannels } = this.subscriptions;
    return channels + patterns + shardChannels > 0;
  }

  /** By Redis's lights one that monitors is normal, and may cost whatever it does not read; here it has a limit. */
  get outputClass(): ClientClass {
    return this.monitoring || this.subscribed ? 'pubsub' : 'normal';
  }

  get flags(): string {
    const flags = [
      this.monitoring ? 'O' : '',
      this.subscribed ? 'P' : '',
      this.queued >= 0 ? 'x' : '',
      this.blocked ? 'b' : '',
      this.closeAfterReply ? 'c' : '',
      this.noEvict ? 'e' : '',
    ];
    return flags.join('') || 'N';
  }
}

/**
 * A line of CLIENT LIST, without its end, field by field as Redis 7.0 has it. What hstore does not have is shown as Redis
 * shows its absence; `lib-name` and `lib-ver`, which clients set on every connect, are those of Redis 7.2.
 *
 * The sizes are those of hstore's own buffers: `qbuf` holds an unfinished request, `argv-mem` counts requests that wait
 * or are executed, `rbs`, `rbp` and `obl` are of the buffer for small replies, `oll` and `omem` of what waits beside it.
 */
export function describeClient(client: Client, nowMs: number): string {
  const output = client.outlet?.output ?? NO_OUTPUT;
  const { channels, patterns, shardChannels } = client.subscriptions;
  const inputBytes = client.queryBytes + client.argvBytes + client.queuedBytes;
  const fields: readonly (readonly [name: string, value: string | number])[] = [
    ['id', client.id],
    ['addr', client.address],
    ['laddr', client.localAddress],
    ['fd', -1],
    ['name', client.name],
    ['age', seconds(nowMs - client.createdAtMs)],
    ['idle', seconds(nowMs - client.lastInteractionMs)],
    ['flags', client.flags],
    ['db', client.db],
    ['sub', channels],
    ['psub', patterns],
    ['ssub', shardChannels],
    ['multi', client.queued],
    ['qbuf', client.queryBytes],
    ['qbuf-free', 0],
    ['argv-mem', client.argvBytes],
    ['multi-mem', client.queuedBytes],
    ['rbs', output.bufferBytes],
    ['rbp', output.bufferPeakBytes],
    ['obl', output.bufferedBytes],
    ['oll', output.chunks],
    ['omem', output.chunkBytes],
    ['tot-mem', inputBytes + output.bufferBytes + output.chunkBytes],
    ['events', client.outputBytes > 0 ? 'rw' : 'r'],
    ['cmd', client.lastCommand],
    ['user', client.user],
    ['redir', -1],
    ['resp', client.protocol],
    ['lib-name', client.libName],
    ['lib-ver', client.libVer],
  ];
  return fields.map(([name, value]) => `${name}=${value}`).join(' ');
}

function seconds(ms: number): number {
  return Math.max(0, Math.floor(ms / 1000));
}

/** `127.0.0.1:6379`, `[::1]:6379`. */
function addressText(address: Address): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

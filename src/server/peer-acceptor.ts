/**
 * The connections that peers have opened to this server: their handshakes, and then their messages.
 *
 * Until it has proved itself whoever connects is a stranger: its frames are small, its time is short, and there are only
 * so many; when there are more, the one that has taken longest goes, since a peer needs no more than two round trips.
 *
 * Of each peer and kind one connection counts, the one that was accepted last: its dialler opens a new one only after it
 * gave up the old. Accepting also tells the lives of a peer apart: a process that has answered our challenge was alive
 * after we accepted, so all connections of its next life were accepted later than all of this one. Once a new life is
 * welcomed, those of older ones are closed, and none is welcomed any more.
 */
import { assert } from '../lib/assert.ts';
import { ByteReader, MalformedError } from '../lib/bytes.ts';
import type { Clock, Connection, LogFields, Random } from '../lib/env.ts';
import type { NodeId } from '../raft/types.ts';
import { encodeFrame, type Frame, FrameReader, forKeeping, SMALL_FRAME_BYTES_MAX } from './peer-frame.ts';
import {
  AcceptorHandshake,
  type Hello,
  type LinkKind,
  type PeerIdentity,
  refusedFrame,
} from './peer-handshake.ts';
import type { PeerLimits } from './peer-limits.ts';
import type { QuietLog } from './peer-log.ts';
import { decodePeerMessage, type PeerMessage } from './peer-message.ts';

export interface PeerAcceptorOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: QuietLog;
  readonly limits: PeerLimits;
  readonly self: PeerIdentity;
  readonly isMember: (id: NodeId) => boolean;
  readonly onMessages: (from: NodeId, messages: readonly PeerMessage[]) => void;
}

/** `stranger`: in the handshake. `leaving`: it was refused, and has yet to close. */
type State = 'stranger' | 'peer' | 'leaving' | 'closed';

interface Accepted {
  readonly connection: Connection;
  /** Counts the connections accepted. */
  readonly order: number;
  acceptedMs: number;
  readonly handshake: AcceptorHandshake;
  readonly reader: FrameReader;
  state: State;
  heardMs: number;
}

/** The newest life of a peer that was welcomed, and its connections. */
interface Life {
  readonly incarnation: number;
  /** Of the first connection of it that was welcomed. */
  readonly order: number;
  readonly links: Map<LinkKind, Accepted>;
  heardMs: number;
}

const PONG = encodeFrame('pong');
/** A peer that sends pings and does not read the pongs is not worth more. */
const PONG_BACKLOG_BYTES_MAX = 64 << 10;

export class PeerAcceptor {
  readonly #options: PeerAcceptorOptions;
  readonly #strangers = new Set<Accepted>();
  readonly #lives = new Map<NodeId, Life>();
  #order = 0;
  #stopped = false;

  constructor(options: PeerAcceptorOptions) {
    this.#options = options;
  }

  /** When the peer was last heard on a connection of its own, by the monotonic clock. */
  heardMs(peer: NodeId): number | undefined {
    return this.#lives.get(peer)?.heardMs;
  }

  /** To be called inside the listener's `onConnection`. */
  accept(connection: Connection): void {
    const { clock, self, isMember, random } = this.#options;
    const nowMs = clock.monotonicMs();
    const accepted: Accepted = {
      ...{ connection, order: ++this.#order, acceptedMs: nowMs, heardMs: nowMs, state: 'stranger' },
      handshake: new AcceptorHandshake(self, isMember, random),
      reader: new FrameReader(SMALL_FRAME_BYTES_MAX),
    };
    this.#strangers.add(accepted);
    connection.handle({
      onData: (bytes) => this.#onData(accepted, bytes),
      onClose: () => this.#forget(accepted),
    });
    if (this.#stopped) this.#close(accepted);
    else if (this.#strangers.size > this.#options.limits.strangersMax) this.#sendAwayTheOldest();
  }

  stop(): void {
    this.#stopped = true;
    for (const accepted of this.#strangers) this.#close(accepted);
    for (const { links } of this.#lives.values()) for (const link of links.values()) this.#close(link);
  }

  /** Now and then: looks for what takes too long. */
  tick(nowMs: number): void {
    const { handshakeTimeoutMs, silenceMs } = this.#options.limits;
    for (const stranger of this.#strangers) {
      if (stranger.state !== 'stranger' || nowMs - stranger.acceptedMs <= handshakeTimeoutMs) continue;
      this.#fail(stranger, 'no end of the handshake');
    }
    for (const { links } of this.#lives.values()) {
      for (const link of links.values()) {
        if (nowMs - link.heardMs > silenceMs) this.#fail(link, 'nothing was heard for too long');
      }
    }
  }

  /** The process has stood still for so long: that does not count. */
  forgive(ms: number): void {
    for (const stranger of this.#strangers) stranger.acceptedMs += ms;
    for (const { links } of this.#lives.values()) for (const link of links.values()) link.heardMs += ms;
  }

  #sendAwayTheOldest(): void {
    // A set keeps the order in which its members came.
    for (const oldest of this.#strangers) {
      this.#fail(oldest, 'too many connections without a handshake');
      return;
    }
  }

  #onData(accepted: Accepted, bytes: Uint8Array): void {
    if (accepted.state !== 'stranger' && accepted.state !== 'peer') return;
    accepted.heardMs = this.#options.clock.monotonicMs();
    accepted.reader.feed(bytes);
    while (accepted.state === 'stranger' || accepted.state === 'peer') {
      const frame = this.#orFail(accepted, () => accepted.reader.next());
      if (frame === undefined) return;
      if (accepted.state === 'stranger') this.#greet(accepted, frame);
      else this.#onFrame(accepted, frame);
    }
  }

  /** What `read` makes of the bytes; undefined, and the connection closed, when they make no sense. */
  #orFail<T>(accepted: Accepted, read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#fail(accepted, 'malformed', error.message);
      return undefined;
    }
  }

  // The handshake

  #greet(accepted: Accepted, frame: Frame): void {
    const step = this.#orFail(accepted, () => accepted.handshake.step(frame));
    switch (step?.next) {
      case undefined:
        return;
      case 'wait':
        accepted.connection.write(step.send);
        return;
      case 'done':
        return this.#welcome(accepted, accepted.handshake.hello!);
      case 'refuse':
        return this.#refuse(accepted, step.reason, step.send);
      case 'refused':
        return this.#fail(accepted, `the peer refuses: ${step.reason}`);
    }
  }

  #welcome(accepted: Accepted, hello: Hello): void {
    const life = this.#lifeOf(hello, accepted.order);
    const before = life?.links.get(hello.kind);
    if (life === undefined || (before !== undefined && before.order > accepted.order)) {
      return this.#refuse(accepted, 'superseded', refusedFrame('superseded'));
    }
    if (before !== undefined) this.#close(before);
    this.#strangers.delete(accepted);
    accepted.state = 'peer';
    accepted.reader.bodyBytesMax = this.#options.limits.frameBytesMax;
    life.links.set(hello.kind, accepted);
    life.heardMs = accepted.heardMs;
    accepted.connection.write(accepted.handshake.welcome);
  }

  /** The life that the connection belongs to; undefined when it is over. */
  #lifeOf({ from, name, incarnation }: Hello, order: number): Life | undefined {
    const newest = this.#lives.get(from);
    if (newest?.incarnation === incarnation) return newest;
    if (newest !== undefined) {
      if (order < newest.order) return undefined;
      // Normal after a restart; again and again, it means that two processes believe to be this peer.
      this.#options.log.warning('a peer was started anew', name, { peer: name });
      for (const link of newest.links.values()) this.#close(link);
    }
    const life: Life = { incarnation, order, links: new Map(), heardMs: 0 };
    this.#lives.set(from, life);
    return life;
  }

  #refuse(accepted: Accepted, reason: string, frame: Uint8Array): void {
    const event = reason === 'superseded' ? 'closed a connection of a peer' : 'refused a peer';
    const { hello } = accepted.handshake;
    this.#options.log.warning(event, `${reason} ${aboutOf(accepted)}`, {
      ...fieldsOf(accepted),
      ...(reason === 'wrong cluster' ? { cluster: hello?.clusterId ?? null } : {}),
      reason,
    });
    accepted.state = 'leaving';
    accepted.connection.write(frame);
    accepted.connection.end();
  }

  // Messages

  #onFrame(accepted: Accepted, { type, payload }: Frame): void {
    const { from, kind } = accepted.handshake.hello!;
    const life = this.#lives.get(from);
    assert(life?.links.get(kind) === accepted, 'the connection is the one that counts', from, kind);
    life.heardMs = accepted.heardMs;
    if (type === 'ping') return this.#pong(accepted);
    const messages = this.#orFail(accepted, () => {
      if (type !== 'messages') throw new MalformedError(`a ${type} among messages`);
      // Only what is bulk is kept.
      return decodeMessages(kind === 'bulk' ? forKeeping(payload) : payload, from);
    });
    if (messages !== undefined) this.#options.onMessages(from, messages);
  }

  #pong(accepted: Accepted): void {
    if (accepted.connection.backlogBytes > PONG_BACKLOG_BYTES_MAX) {
      return this.#fail(accepted, 'the peer sends pings and reads no pongs');
    }
    accepted.connection.write(PONG);
  }

  // The end

  #fail(accepted: Accepted, reason: string, detail?: string): void {
    this.#options.log.warning('closed a connection of a peer', `${reason} ${aboutOf(accepted)}`, {
      ...fieldsOf(accepted),
      reason,
      ...(detail === undefined ? {} : { detail }),
    });
    this.#close(accepted);
  }

  #close(accepted: Accepted): void {
    this.#forget(accepted);
    accepted.connection.destroy();
  }

  #forget(accepted: Accepted): void {
    accepted.state = 'closed';
    this.#strangers.delete(accepted);
    const { hello } = accepted.handshake;
    const links = hello === undefined ? undefined : this.#lives.get(hello.from)?.links;
    if (hello !== undefined && links?.get(hello.kind) === accepted) links.delete(hello.kind);
  }
}

function decodeMessages(payload: Uint8Array, from: NodeId): PeerMessage[] {
  const reader = new ByteReader(payload);
  const messages: PeerMessage[] = [];
  while (reader.remaining > 0) {
    const message = decodePeerMessage(reader);
    if (message.kind === 'raft' && message.message.from !== from) {
      throw new MalformedError(`server ${from} speaks for server ${message.message.from}`);
    }
    messages.push(message);
  }
  return messages;
}

/** Without the port: a stranger has a new one each time. */
function aboutOf({ handshake, connection }: Accepted): string {
  return handshake.hello === undefined ? connection.remote.host : String(handshake.hello.from);
}

/** What a stranger says of itself is not proved, but it is what helps to find it. */
function fieldsOf({ handshake, connection }: Accepted): LogFields {
  const { host, port } = connection.remote;
  const { hello } = handshake;
  return hello === undefined
    ? { host, port }
    : { peer: hello.name, id: hello.from, kind: hello.kind, host, port };
}

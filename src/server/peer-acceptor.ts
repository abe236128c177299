/**
 * The connections that other servers have opened to this server: their handshakes, and then their messages. Streams and
 * visits are handed on once they are welcome.
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
import type { Address, Clock, Connection, LogFields, Random } from '../lib/env.ts';
import type { NodeId } from '../raft/types.ts';
import { PeerChannel } from './peer-channel.ts';
import { encodeFrame, type Frame, forKeeping } from './peer-frame.ts';
import { AcceptorHandshake, type Admission, refusedFrame } from './peer-handshake.ts';
import type { Hello, MessageKind, PeerIdentity } from './peer-hello.ts';
import type { PeerLimits } from './peer-limits.ts';
import type { QuietLog } from './peer-log.ts';
import { decodePeerMessage, type PeerMessage } from './peer-message.ts';

export interface PeerAcceptorOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: QuietLog;
  readonly limits: PeerLimits;
  readonly self: PeerIdentity;
  readonly admit: Admission;
  /** Whether it is a peer or a guest. */
  readonly isKnown: (id: NodeId) => boolean;
  /** Its connection counts now. Not for visitors. The last that is done for the connection in this turn. */
  readonly onWelcome: (hello: Hello, remote: Address) => void;
  /** The process that was this peer is no more. */
  readonly onNewLife: (peer: NodeId) => void;
  readonly onMessages: (from: NodeId, messages: readonly PeerMessage[]) => void;
  /** To become the owner of the channel. */
  readonly onStream: (channel: PeerChannel, from: NodeId) => void;
  readonly onVisit: (channel: PeerChannel) => void;
}

interface Accepted {
  readonly channel: PeerChannel;
  /** Counts the connections accepted. */
  readonly order: number;
  acceptedMs: number;
  readonly handshake: AcceptorHandshake;
}

/** The newest life of a peer that was welcomed, and its connections for messages. */
interface Life {
  readonly incarnation: number;
  /** Of the first connection of it that was welcomed. */
  readonly order: number;
  readonly links: Map<MessageKind, Accepted>;
  heardMs: number;
}

const PONG = encodeFrame('pong');
/** A peer that sends pings and does not read the pongs is not worth more. */
const PONG_BACKLOG_BYTES_MAX = 64 << 10;

export class PeerAcceptor {
  readonly #options: PeerAcceptorOptions;
  /** In the handshake, or refused and not yet gone. */
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
    const { clock, self, admit, random } = this.#options;
    const channel = new PeerChannel(
      clock,
      {
        onFrame: (frame) => this.#greet(accepted, frame),
        onClose: (reason, detail) => this.#strangerClosed(accepted, reason, detail),
      },
      (events) => {
        connection.handle(events);
        return connection;
      },
    );
    const handshake = new AcceptorHandshake(self, admit, random);
    const accepted = { channel, order: ++this.#order, acceptedMs: clock.monotonicMs(), handshake };
    if (this.#stopped) return channel.drop();
    this.#strangers.add(accepted);
    if (this.#strangers.size > this.#options.limits.strangersMax) this.#sendAwayTheOldest();
  }

  /** All connections for messages that the server has opened. */
  closeAll(peer: NodeId): void {
    const life = this.#lives.get(peer);
    if (life === undefined) return;
    for (const { channel } of life.links.values()) channel.drop();
    life.links.clear();
  }

  stop(): void {
    this.#stopped = true;
    for (const { channel } of this.#strangers) channel.drop();
    this.#strangers.clear();
    for (const peer of this.#lives.keys()) this.closeAll(peer);
  }

  /** Now and then: looks for what takes too long. */
  tick(nowMs: number): void {
    const { handshakeTimeoutMs, silenceMs } = this.#options.limits;
    for (const { channel, acceptedMs } of this.#strangers) {
      if (channel.open && nowMs - acceptedMs > handshakeTimeoutMs) channel.fail('no end of the handshake');
    }
    for (const [peer, { links, heardMs }] of this.#lives) {
      for (const { channel } of links.values()) {
        if (nowMs - channel.heardMs > silenceMs) channel.fail('nothing was heard for too long');
      }
      // By now no connection of an older life can be in a handshake.
      const over = links.size === 0 && nowMs - heardMs > silenceMs + handshakeTimeoutMs;
      if (over && !this.#options.isKnown(peer)) this.#lives.delete(peer);
    }
  }

  /** The process has stood still for so long: that does not count. */
  forgive(ms: number): void {
    for (const stranger of this.#strangers) stranger.acceptedMs += ms;
    for (const { links } of this.#lives.values()) {
      for (const { channel } of links.values()) channel.heardMs += ms;
    }
  }

  #sendAwayTheOldest(): void {
    // A set keeps the order in which its members came.
    for (const { channel } of this.#strangers) {
      return channel.fail('too many connections without a handshake');
    }
  }

  // The handshake

  #greet(accepted: Accepted, frame: Frame): void {
    const { channel, handshake } = accepted;
    const step = channel.parse(() => handshake.step(frame));
    switch (step?.next) {
      case undefined:
        return;
      case 'wait':
        channel.write(step.send);
        return;
      case 'done':
        return this.#welcome(accepted, handshake.hello!);
      case 'refuse':
        return this.#refuse(accepted, step.reason, step.send);
      case 'refused':
        return channel.fail(`the peer refuses: ${step.reason}`);
    }
  }

  #strangerClosed(accepted: Accepted, reason: string, detail: string | undefined): void {
    this.#strangers.delete(accepted);
    // That it closes by itself, or after it was refused, is no news.
    if (!accepted.channel.failed) return;
    this.#tellClosed(accepted, reason, detail);
  }

  #welcome(accepted: Accepted, hello: Hello): void {
    const { channel, handshake } = accepted;
    if (hello.kind === 'visit') {
      this.#strangers.delete(accepted);
      channel.write(handshake.welcome);
      return this.#options.onVisit(channel);
    }
    const life = this.#lifeOf(hello, accepted.order);
    const before = hello.kind === 'stream' ? undefined : life?.links.get(hello.kind);
    if (life === undefined || (before !== undefined && before.order > accepted.order)) {
      return this.#refuse(accepted, 'superseded', refusedFrame('superseded'));
    }
    before?.channel.drop();
    this.#strangers.delete(accepted);
    life.heardMs = channel.heardMs;
    channel.write(handshake.welcome);
    if (hello.kind === 'stream') this.#options.onStream(channel, hello.from);
    else this.#connect(accepted, life, hello.kind);
    this.#options.onWelcome(hello, channel.remote);
  }

  #connect(accepted: Accepted, life: Life, kind: MessageKind): void {
    const { channel } = accepted;
    life.links.set(kind, accepted);
    channel.frameBytesMax = this.#options.limits.frameBytesMax;
    channel.owner = {
      onFrame: (frame) => this.#onFrame(accepted, life, frame),
      onClose: (reason, detail) => {
        life.links.delete(kind);
        if (channel.failed) this.#tellClosed(accepted, reason, detail);
      },
    };
  }

  /** The life that the connection belongs to; undefined when it is over. */
  #lifeOf({ from, name, incarnation }: Hello, order: number): Life | undefined {
    const newest = this.#lives.get(from);
    if (newest?.incarnation === incarnation) return newest;
    if (newest !== undefined) {
      if (order < newest.order) return undefined;
      // Normal after a restart; again and again, it means that two processes believe to be this peer.
      this.#options.log.warning('a peer was started anew', name, { peer: name });
      this.closeAll(from);
      this.#options.onNewLife(from);
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
    accepted.channel.write(frame);
    accepted.channel.end();
  }

  // Messages

  #onFrame(accepted: Accepted, life: Life, { type, payload }: Frame): void {
    const { channel, handshake } = accepted;
    const { from, kind } = handshake.hello!;
    assert(this.#lives.get(from) === life, 'the life is the one that counts', from, kind);
    life.heardMs = channel.heardMs;
    if (type === 'ping') return this.#pong(channel);
    const messages = channel.parse(() => {
      if (type !== 'messages') throw new MalformedError(`a ${type} among messages`);
      // Only what is bulk is kept.
      return decodeMessages(kind === 'bulk' ? forKeeping(payload) : payload, from);
    });
    if (messages !== undefined) this.#options.onMessages(from, messages);
  }

  #pong(channel: PeerChannel): void {
    if (channel.backlogBytes > PONG_BACKLOG_BYTES_MAX) {
      return channel.fail('the peer sends pings and reads no pongs');
    }
    channel.write(PONG);
  }

  #tellClosed(accepted: Accepted, reason: string, detail: string | undefined): void {
    this.#options.log.warning('closed a connection of a peer', `${reason} ${aboutOf(accepted)}`, {
      ...fieldsOf(accepted),
      reason,
      ...(detail === undefined ? {} : { detail }),
    });
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
function aboutOf({ handshake, channel }: Accepted): string {
  return handshake.hello === undefined ? channel.remote.host : String(handshake.hello.from);
}

/** What a stranger says of itself is not proved, but it is what helps to find it. */
function fieldsOf({ handshake, channel }: Accepted): LogFields {
  const { host, port } = channel.remote;
  const { hello } = handshake;
  return hello === undefined
    ? { host, port }
    : { peer: hello.name, id: hello.from, kind: hello.kind, host, port };
}

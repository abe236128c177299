/**
 * Every timeout and bound of the links between servers, and the relations between them that the links rely on.
 */
import { assert } from '../lib/assert.ts';

export interface PeerLimits {
  /**
   * The largest frame that a peer who has proved itself may send: above the largest run of writes, that is a value of
   * the largest size with what stands around it.
   */
  readonly frameBytesMax: number;
  /** What is sent but not yet taken by the operating system, or is about to be sent. Over it, messages are dropped. */
  readonly controlBacklogBytesMax: number;
  readonly bulkBacklogBytesMax: number;
  /** From the first packet to an open connection, and from there to the end of the handshake, on either side. */
  readonly dialTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  /** The pause before the next dial: doubled with each failure, half of it by chance. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  readonly pingIntervalMs: number;
  /** A ping unanswered for this long: the connection is dead, whatever TCP believes. */
  readonly pongTimeoutMs: number;
  /** An acceptor that hears nothing for this long, not even a ping, closes. */
  readonly silenceMs: number;
  /** Accepted connections that have not finished the handshake. */
  readonly strangersMax: number;
  /** Servers that are let in because they know the secret, and are no peers. */
  readonly guestsMax: number;
  /** Accepted from one peer at a time. */
  readonly streamsPerPeerMax: number;
  /** What a stream has sent and the operating system has not taken. Over it, the stream is closed. */
  readonly streamBacklogBytesMax: number;
  /** A stream on which nothing is heard for this long, not even a ping, is closed. */
  readonly streamSilenceMs: number;
  /** Accepted at a time. */
  readonly visitsMax: number;
  /** From the welcome of a visitor to its leave. */
  readonly visitTimeoutMs: number;
  /** From an invitation to its answer. */
  readonly invitationTimeoutMs: number;
}

export const DEFAULT_PEER_LIMITS: PeerLimits = {
  frameBytesMax: 96 << 20,
  controlBacklogBytesMax: 8 << 20,
  bulkBacklogBytesMax: 64 << 20,
  dialTimeoutMs: 2000,
  handshakeTimeoutMs: 2000,
  backoffMinMs: 50,
  backoffMaxMs: 2000,
  pingIntervalMs: 1000,
  pongTimeoutMs: 3000,
  silenceMs: 10_000,
  strangersMax: 64,
  guestsMax: 16,
  streamsPerPeerMax: 4,
  streamBacklogBytesMax: 16 << 20,
  streamSilenceMs: 30_000,
  visitsMax: 8,
  visitTimeoutMs: 30_000,
  invitationTimeoutMs: 10_000,
};

export function checkPeerLimits(limits: PeerLimits): void {
  for (const [name, value] of Object.entries(limits)) {
    assert(Number.isSafeInteger(value) && value > 0, 'a limit is a whole number above zero', name, value);
  }
  assert(limits.backoffMinMs <= limits.backoffMaxMs, 'the pauses grow', limits.backoffMinMs);
  assert(
    limits.pingIntervalMs + limits.pongTimeoutMs < limits.silenceMs,
    'who is pinged in time is not silent',
    limits.silenceMs,
  );
  assert(
    limits.pingIntervalMs < limits.streamSilenceMs,
    'a stream is pinged before it is silent',
    limits.streamSilenceMs,
  );
}

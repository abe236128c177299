/**
 * Whom this server knows: the peers that the cluster's configuration names, the servers that were removed from it for
 * good, and guests.
 *
 * Changes of the configuration reach servers at different times. Who knows the secret of the cluster and was not removed
 * may be a member of which this server has not heard, so it is let in as a guest and answered at the address that it
 * tells. That is also how a newcomer, who knows nobody, comes to speak with the leader that dials it. Letting in costs
 * nothing in safety: whose votes and acknowledgements count is decided by Raft. A guest is forgotten once it is silent.
 */
import { assert } from '../lib/assert.ts';
import type { Address } from '../lib/env.ts';
import type { NodeId } from '../raft/types.ts';
import { sameAddress } from './peer-addresses.ts';
import type { RefusalReason } from './peer-handshake.ts';
import type { AdvertisedAddress, Hello } from './peer-hello.ts';
import { type PeerEntry, PeerLink, type PeerLinkOptions, toldAddress } from './peer-link.ts';

export interface PeerRosterOptions {
  readonly self: NodeId;
  readonly guestsMax: number;
  readonly silenceMs: number;
  /** When a server was last heard on connections that it has opened. */
  readonly heardMs: (id: NodeId) => number | undefined;
  /** Its connections, which it has opened or which were opened for a stream, are to be closed. */
  readonly onGone: (id: NodeId) => void;
  readonly onAddress: (from: NodeId, name: string, address: AdvertisedAddress) => void;
}

export class PeerRoster {
  readonly #options: PeerRosterOptions;
  #entries: ReadonlyMap<NodeId, PeerEntry> = new Map();
  #removed: ReadonlySet<NodeId> = new Set();
  readonly #links = new Map<NodeId, PeerLink>();
  /** Undefined before `start`. */
  #linkOptions: PeerLinkOptions | undefined;

  constructor(options: PeerRosterOptions) {
    this.#options = options;
  }

  /** Peers and guests. */
  get links(): Iterable<PeerLink> {
    return this.#links.values();
  }

  get(id: NodeId): PeerLink | undefined {
    return this.#links.get(id);
  }

  /** Begins to dial. */
  start(options: PeerLinkOptions): void {
    assert(this.#linkOptions === undefined, 'it starts once');
    this.#linkOptions = options;
    this.#follow();
  }

  /** This server itself, if it is among them, is passed over. */
  setPeers(peers: ReadonlyMap<NodeId, PeerEntry>, removed: ReadonlySet<NodeId>): void {
    for (const id of peers.keys()) assert(!removed.has(id), 'who was removed never comes back', id);
    this.#entries = new Map(peers);
    this.#removed = new Set(removed);
    if (this.#linkOptions !== undefined) this.#follow();
  }

  /** Whether a server that has proved itself is let in; undefined: yes. */
  admit({ from, address }: Hello): RefusalReason | undefined {
    if (this.#removed.has(from)) return 'removed';
    if (this.#linkOptions === undefined) return 'not served';
    if (this.#links.has(from)) return undefined;
    if (address.peerPort === 0) return 'no address';
    let guests = 0;
    for (const link of this.#links.values()) if (link.isGuest) guests++;
    return guests < this.#options.guestsMax ? undefined : 'too many';
  }

  /** An admitted server has connected, from `remote`. */
  meet({ from, name, address, kind }: Hello, remote: Address): void {
    const told = toldAddress(address, remote);
    if (told === undefined) return;
    const link = this.#links.get(from);
    if (link === undefined) return this.#link(from, { name, learned: told });
    link.learn(told);
    const { entry } = link;
    // Of all its connections one tells it.
    if (entry === undefined || kind !== 'control') return;
    const { clientPort = address.port } = entry;
    if (sameAddress(entry.address, told) && (address.port === 0 || clientPort === address.port)) return;
    this.#options.onAddress(from, name, { ...address, host: told.host });
  }

  tick(nowMs: number): void {
    for (const link of this.#links.values()) {
      link.tick(nowMs);
      if (link.isGuest && this.#isSilent(link, nowMs)) this.#drop(link);
    }
  }

  forgive(ms: number): void {
    for (const link of this.#links.values()) link.forgive(ms);
  }

  stop(): void {
    for (const link of this.#links.values()) link.stop();
  }

  #follow(): void {
    for (const link of this.#links.values()) {
      const gone = !link.isGuest && !this.#entries.has(link.id);
      if (gone || this.#removed.has(link.id)) this.#drop(link);
    }
    for (const [id, entry] of this.#entries) {
      if (id === this.#options.self) continue;
      const link = this.#links.get(id);
      if (link === undefined) this.#link(id, entry);
      else link.configure(entry);
    }
  }

  #link(id: NodeId, who: PeerEntry | { name: string; learned: Address }): void {
    const link = new PeerLink(this.#linkOptions!, id, who);
    this.#links.set(id, link);
    link.dial();
  }

  #isSilent({ id, control, sinceMs }: PeerLink, nowMs: number): boolean {
    const heardMs = Math.max(sinceMs, control.heardMs ?? 0, this.#options.heardMs(id) ?? 0);
    return nowMs - heardMs > this.#options.silenceMs;
  }

  #drop(link: PeerLink): void {
    link.stop();
    this.#links.delete(link.id);
    this.#options.onGone(link.id);
  }
}

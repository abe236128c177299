/**
 * One peer, or guest, as this server reaches it: where it is, and the two diallers. What it sends comes on connections
 * that it has opened itself (peer-acceptor.ts).
 */
import type { Address, Clock } from '../lib/env.ts';
import type { NodeId } from '../raft/types.ts';
import { PeerAddresses } from './peer-addresses.ts';
import type { CallOptions } from './peer-call.ts';
import { type Dialled, PeerDialler } from './peer-dialler.ts';
import type { MessageKind } from './peer-hello.ts';
import type { QuietLog } from './peer-log.ts';
import { isBulkMessage, type PeerMessage } from './peer-message.ts';

/** A peer as the cluster's configuration has it. */
export interface PeerEntry {
  readonly name: string;
  /** For peers. */
  readonly address: Address;
  /** Its port for clients; undefined: not known. */
  readonly clientPort?: number;
}

export interface PeerLinkOptions extends CallOptions {
  readonly log: QuietLog;
  readonly onChange: (link: PeerLink, kind: MessageKind, up: boolean) => void;
  readonly onRemoved: () => void;
}

export class PeerLink implements Dialled {
  readonly id: NodeId;
  readonly addresses: PeerAddresses;
  /** As the configuration has it; undefined: a guest. */
  entry: PeerEntry | undefined;
  /** Before this, its silence does not count; by the monotonic clock. */
  sinceMs: number;
  readonly #clock: Clock;
  readonly #guestName: string;
  readonly #diallers: Readonly<Record<MessageKind, PeerDialler>>;

  /** To a peer with an `entry`, or a guest at an address that it has told. */
  constructor(options: PeerLinkOptions, id: NodeId, who: PeerEntry | { name: string; learned: Address }) {
    const isGuest = 'learned' in who;
    this.id = id;
    this.entry = isGuest ? undefined : who;
    this.#clock = options.clock;
    this.sinceMs = options.clock.monotonicMs();
    this.#guestName = who.name;
    this.addresses = new PeerAddresses(isGuest ? { learned: who.learned } : { configured: who.address });
    const dialler = (kind: MessageKind) =>
      new PeerDialler({
        ...options,
        ...{ peer: this, kind },
        onChange: (up) => options.onChange(this, kind, up),
      });
    this.#diallers = { control: dialler('control'), bulk: dialler('bulk') };
  }

  get name(): string {
    return this.entry?.name ?? this.#guestName;
  }

  get isGuest(): boolean {
    return this.entry === undefined;
  }

  get control(): PeerDialler {
    return this.#diallers.control;
  }

  /** Where it is best tried. */
  get address(): Address {
    return this.control.up ? this.control.address : this.addresses.at(0);
  }

  dial(): void {
    this.#each((dialler) => dialler.dial());
  }

  /** It is a peer, if it was not, with this name and address. */
  configure(entry: PeerEntry): void {
    this.entry = entry;
    if (this.addresses.configure(entry.address)) this.#each((dialler) => dialler.readdress());
  }

  /** It has said where it is. */
  learn(address: Address): void {
    if (this.addresses.learn(address)) this.#each((dialler) => dialler.readdress());
  }

  /** Whether all messages were taken. */
  add(messages: readonly PeerMessage[]): boolean {
    let all = true;
    for (const message of messages) {
      const dialler = isBulkMessage(message) ? this.#diallers.bulk : this.#diallers.control;
      if (!dialler.add(message)) all = false;
    }
    return all;
  }

  flush(): void {
    this.#each((dialler) => dialler.flush());
  }

  tick(nowMs: number): void {
    this.#diallers.control.tick(nowMs, false);
    this.#diallers.bulk.tick(nowMs, this.control.up);
  }

  forgive(ms: number): void {
    this.sinceMs = this.#clock.monotonicMs();
    this.#each((dialler) => dialler.forgive(ms));
  }

  stop(): void {
    this.#each((dialler) => dialler.stop());
  }

  #each(run: (dialler: PeerDialler) => void): void {
    run(this.#diallers.control);
    run(this.#diallers.bulk);
  }
}

/** Where a connection's other side says that it listens for peers; undefined: nowhere. */
export function toldAddress(
  { host, peerPort }: { readonly host: string; readonly peerPort: number },
  remote: Address,
): Address | undefined {
  // Of a connection that is lost already nobody knows where it came from.
  const told = host === '' ? remote.host : host;
  return peerPort === 0 || told === '' ? undefined : { host: told, port: peerPort };
}

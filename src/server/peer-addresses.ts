/**
 * Where a peer may be found: at the address that the cluster's configuration gives, and at the one that the peer itself
 * has told, if that is another. A server that has moved is known by its own word before the configuration says so; but
 * its word may be of use only to its neighbours (a loopback, a private network), so both are tried in turn.
 */
import { assert } from '../lib/assert.ts';
import type { Address } from '../lib/env.ts';

export class PeerAddresses {
  #configured: Address | undefined;
  #learned: Address | undefined;

  constructor({ configured, learned }: { configured?: Address; learned?: Address }) {
    assert(configured !== undefined || learned !== undefined, 'a peer has an address');
    this.#configured = configured;
    this.#learned = learned;
  }

  get configured(): Address | undefined {
    return this.#configured;
  }

  /** In the order in which they are tried. */
  get all(): readonly Address[] {
    return [this.#learned, this.#configured].filter((address) => address !== undefined);
  }

  /** To be dialled after so many failures. */
  at(failures: number): Address {
    const { all } = this;
    return all[failures % all.length]!;
  }

  has(address: Address): boolean {
    return this.all.some((each) => sameAddress(each, address));
  }

  /** Whether anything is different now. A new configured address makes the learned one forgotten. */
  configure(address: Address): boolean {
    const before = this.#configured;
    if (before !== undefined && sameAddress(before, address)) return false;
    this.#configured = address;
    // Who was a guest has told its address, and nobody has told it otherwise since.
    if (before !== undefined || this.#tells(address)) this.#learned = undefined;
    return true;
  }

  /** Whether anything is different now. */
  learn(address: Address): boolean {
    if (this.#tells(address)) return false;
    const atHome = this.#configured !== undefined && sameAddress(this.#configured, address);
    if (atHome && this.#learned === undefined) return false;
    this.#learned = atHome ? undefined : address;
    return true;
  }

  #tells(address: Address): boolean {
    return this.#learned !== undefined && sameAddress(this.#learned, address);
  }
}

export function sameAddress(a: Address, b: Address): boolean {
  return a.host === b.host && a.port === b.port;
}

/**
 * A client's session: numbers for its writes, and up to where their replies have come.
 *
 * Each write gets the next number and keeps it however often it is sent. `ack` is the last number up to which every
 * write is settled: the servers may forget those replies. See HSTORE.DO in docs/exactly-once.md.
 */
export class Session {
  readonly id: number;
  /** The servers do not know it any more. */
  lost = false;
  #nextSeq = 1;
  #ack = 0;
  /** Settled numbers beyond `ack`. */
  readonly #settled = new Set<number>();

  constructor(id: number) {
    this.id = id;
  }

  get ack(): number {
    return this.#ack;
  }

  /** Numbers given out beyond `ack`. */
  get open(): number {
    return this.#nextSeq - 1 - this.#ack;
  }

  next(): number {
    return this.#nextSeq++;
  }

  /** The reply has come, or nobody waits for it any more. */
  settle(seq: number): void {
    this.#settled.add(seq);
    while (this.#settled.delete(this.#ack + 1)) this.#ack++;
  }
}

/**
 * Disks that rot: what was durable is not what it was, for good. Of one server at a time, and while the others can spare
 * it, or what was acknowledged might be on no good disk any more (a fault atlas, after TigerBeetle).
 *
 * The server must notice, and refuse to go on; then it is replaced. One kind of rot cannot be told from a write that was
 * cut short by the crash: that of the last record, behind which there is nothing yet to prove that it was durable. Who
 * comes back with less than it had is replaced at once, before it has said a word, and counted in `unnoticed`.
 */
import { assert } from '../../src/lib/assert.ts';
import { ConfigError, CorruptionError } from '../../src/lib/errors.ts';
import type { Cluster, SimServer } from './cluster.ts';
import type { MemberDriver } from './member-driver.ts';
import type { SimRandom } from './random.ts';

interface Had {
  readonly lastIndex: number;
  readonly lastTerm: number;
  readonly term: number;
  readonly votedFor: number;
}

export class RottenDisks {
  readonly #cluster: Cluster;
  readonly #random: SimRandom;
  readonly #members: MemberDriver;
  /** What the server had when its disk rotted, until it is back. */
  readonly #had = new Map<SimServer, Had>();
  noticed = 0;
  unnoticed = 0;

  constructor(cluster: Cluster, random: SimRandom, members: MemberDriver) {
    this.#cluster = cluster;
    this.#random = random;
    this.#members = members;
  }

  /** If the cluster can bear it now: some server crashes, and when it starts again its disk has rotted. */
  rot(): void {
    if (!this.#members.canLoseOne) return;
    const server = this.#random.pick(this.#cluster.servers);
    if (server.replica === undefined) return;
    const { log, term, votedFor } = server.replica.raft;
    const { stableIndex } = log;
    const had = { lastIndex: stableIndex, lastTerm: log.termAt(stableIndex)!, term, votedFor };
    server.crash();
    const what = this.#random.chance(0.5) ? server.disk.rot()?.path : server.store.rot();
    if (what !== undefined) {
      this.#members.lose(server);
      this.#had.set(server, had);
    }
    this.#cluster.options.trace?.(`${this.#cluster.scheduler.nowMs.toFixed(2)} n${server.id} rots: ${what}`);
    this.#cluster.scheduler.after(this.#random.exponential(500), undefined, () => {
      if (!server.up && this.#cluster.servers.includes(server)) server.start();
    });
  }

  /** The server has ended by itself: whether that was the rot. */
  ended(server: SimServer, error: Error): boolean {
    if (!this.#members.isLost(server)) return false;
    if (!(error instanceof CorruptionError || error instanceof ConfigError)) return false;
    assert(/\.wal|store|log/.test(error.message), 'the error says what is damaged', error.message);
    this.noticed++;
    this.#had.delete(server);
    this.#members.replace(server);
    return true;
  }

  afterEvent(): void {
    for (const [server, had] of this.#had) {
      if (server.replica === undefined) continue;
      this.#had.delete(server);
      const { log, term, votedFor } = server.replica.raft;
      const has =
        log.lastIndex >= had.lastIndex &&
        (log.termAt(had.lastIndex) ?? had.lastTerm) === had.lastTerm &&
        term >= had.term &&
        (term > had.term || votedFor === had.votedFor);
      if (has) continue;
      this.unnoticed++;
      this.#members.replace(server);
    }
  }
}

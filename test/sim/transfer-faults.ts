/**
 * Faults that hit what is on its way from one server to another: a snapshot, whose streams break and whose ends crash in
 * every stage of its transfer and of its install; and leadership, which a server asks for.
 */
import { assert } from '../../src/lib/assert.ts';
import type { Cluster, SimServer } from './cluster.ts';
import type { SimRandom } from './random.ts';
import type { Life } from './scheduler.ts';

/** A takeover waits for two election timeouts; pauses of its server and late timers come on top. */
const TAKEOVER_TIMEOUTS = 3;

export class TransferFaults {
  readonly #cluster: Cluster;
  readonly #random: SimRandom;
  readonly #crash: (server: SimServer) => void;
  /** So many of the next transfers cost one of their ends its life. */
  #armed = 0;
  /** By the life of the receiver: the snapshot that is known to be coming in. */
  readonly #known = new WeakMap<Life, number>();
  /** Servers that have got leadership by asking for it. */
  takeovers = 0;

  constructor(cluster: Cluster, random: SimRandom, crash: (server: SimServer) => void) {
    this.#cluster = cluster;
    this.#random = random;
    this.#crash = crash;
  }

  arm(): void {
    this.#armed = 1 + this.#random.below(4);
  }

  disarm(): void {
    this.#armed = 0;
  }

  breakStreams(victim: SimServer): void {
    const { streams, simStreams, ids } = this.#cluster;
    simStreams.breakAll(victim.id);
    for (const id of ids) if (id !== victim.id) streams?.reset(victim.id, id);
  }

  /** A small snapshot is received, verified and installed in some ten milliseconds; a large one takes seconds. */
  afterEvent(): void {
    if (this.#armed === 0) return;
    for (const server of this.#cluster.servers) {
      const received = server.replica?.snapshots.received;
      if (received === undefined || this.#known.get(server.life!) === received.index) continue;
      this.#known.set(server.life!, received.index);
      this.#armed--;
      const sender = this.#cluster.servers.find(({ id }) => id === received.from);
      const act = this.#random.pick([
        () => this.#crash(server),
        () => this.#crash(server),
        () => sender !== undefined && this.#crash(sender),
        () => this.breakStreams(server),
      ]);
      const delayMs = this.#random.chance(0.7) ? this.#random.between(0, 14) : this.#random.exponential(1000);
      this.#cluster.scheduler.after(delayMs, undefined, act);
    }
  }

  /** CLUSTER FAILOVER: whoever asks leads within its time, or is told that it does not. */
  takeOver(server: SimServer): void {
    const { replica, life } = server;
    if (replica === undefined || !replica.raft.configuration.staysVoter(server.id)) return;
    const { scheduler, options } = this.#cluster;
    const beganMs = scheduler.nowMs;
    let settled = false;
    let heldUp = life!.paused;
    replica.takeOver(this.#random.pick(['asked', 'asked', 'forced']), (leads) => {
      settled = true;
      if (!leads) return;
      this.takeovers++;
      assert(server.isLeader, 'who has taken over leads', server.id);
    });
    const waitMs = TAKEOVER_TIMEOUTS * (options.limits?.electionTimeoutMs ?? 1000);
    const look = () => {
      if (settled || !life!.alive) return;
      heldUp ||= life!.paused;
      if (heldUp) return;
      assert(scheduler.nowMs - beganMs < waitMs, 'a takeover is over within its time', server.id);
      scheduler.after(waitMs / 20, undefined, look);
    };
    look();
  }
}

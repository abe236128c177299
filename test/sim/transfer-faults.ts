/**
 * Faults that hit what is on its way from one server to another: a snapshot, whose streams break and whose ends crash in
 * every stage of its transfer and of its install; and leadership, which a server asks for.
 */
import { assert } from '../../src/lib/assert.ts';
import type { Cluster, SimServer } from './cluster.ts';
import type { SimRandom } from './random.ts';
import type { Life } from './scheduler.ts';
import type { SimStore } from './store.ts';

/** A takeover waits for two election timeouts; pauses of its server and late timers come on top. */
const TAKEOVER_TIMEOUTS = 3;
const SLOW_STORE_MS = 10;

/** To be hit when the receiver's store has written so many batches. */
interface Aim {
  readonly store: SimStore;
  readonly life: Life;
  readonly batches: number;
  readonly slow: boolean;
  readonly hit: () => void;
}

export class TransferFaults {
  readonly #cluster: Cluster;
  readonly #random: SimRandom;
  readonly #crash: (server: SimServer) => void;
  /** So many of the next transfers cost one of their ends its life. */
  #armed = 0;
  readonly #aimed: Aim[] = [];
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
    this.#aimed.length = 0;
  }

  breakStreams(victim: SimServer): void {
    const { streams, simStreams, ids } = this.#cluster;
    simStreams.breakAll(victim.id);
    for (const id of ids) if (id !== victim.id) streams?.reset(victim.id, id);
  }

  /** A leader sends a follower what it has, all or nearly. */
  sendNeedless(): void {
    const leader = this.#cluster.leader();
    const { configuration } = leader?.replica?.raft ?? {};
    const others = configuration?.others(leader!.id) ?? [];
    if (others.length > 0) leader!.replica!.snapshots.send(this.#random.pick(others));
  }

  afterEvent(): void {
    this.#strike();
    if (this.#armed === 0) return;
    for (const server of this.#cluster.servers) {
      const received = server.replica?.snapshots.received;
      if (received === undefined || this.#known.get(server.life!) === received.index) continue;
      this.#known.set(server.life!, received.index);
      this.#armed--;
      this.#aim(server, received.from);
    }
  }

  /** At a moment during the transfer, or right behind a batch of the store: a chunk, the meta record, the flip. */
  #aim(server: SimServer, from: number): void {
    const sender = this.#cluster.servers.find(({ id }) => id === from);
    const hit = this.#random.pick([
      () => this.#crash(server),
      () => this.#crash(server),
      () => sender !== undefined && this.#crash(sender),
      () => this.breakStreams(server),
    ]);
    const { store, life } = server;
    if (this.#random.chance(0.3)) {
      this.#cluster.scheduler.after(this.#random.exponential(1000), undefined, hit);
    } else {
      // On a slow store what happens beside its batches can be hit.
      const slow = this.#random.chance(0.5);
      if (slow) store.faults.stallMs = SLOW_STORE_MS;
      const batches = store.batches + 1 + this.#random.below(4);
      this.#aimed.push({ store, life: life!, batches, slow, hit });
    }
  }

  #strike(): void {
    for (const aim of this.#aimed.splice(0)) {
      const { store, life, slow } = aim;
      const over = () => {
        if (slow) store.faults.stallMs = 0;
      };
      if (!life.alive) over();
      else if (store.batches < aim.batches) this.#aimed.push(aim);
      else {
        const delayMs = this.#random.between(0, slow ? 1.5 * SLOW_STORE_MS : 3);
        this.#cluster.scheduler.after(delayMs, undefined, () => {
          over();
          aim.hit();
        });
      }
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

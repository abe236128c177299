/**
 * The faults of a seed's world. Each breaks something that the cluster must survive, and most mend it again after a
 * while; `mend` mends all that is broken still.
 */
import type { PeerMessage } from '../../src/server/peer-message.ts';
import type { Cluster, SimServer } from './cluster.ts';
import { GOOD_DISK } from './disk.ts';
import { GOOD_NETWORK } from './network.ts';
import type { SimRandom } from './random.ts';
import type { FaultWeights } from './swarm-options.ts';
import { TransferFaults } from './transfer-faults.ts';

export class Faults {
  readonly #cluster: Cluster;
  readonly #random: SimRandom;
  readonly #transfers: TransferFaults;
  crashes = 0;
  /** Until then, every new leader falls within milliseconds. */
  #figure8UntilMs = 0;
  /** So many of the next votes cost their giver its life. */
  #crashVoters = 0;
  #isAway = false;
  readonly #badlyRead = new Set<SimServer>();

  constructor(cluster: Cluster, random: SimRandom) {
    this.#cluster = cluster;
    this.#random = random;
    this.#transfers = new TransferFaults(cluster, random, (server) => this.crash(server));
  }

  get takeovers(): number {
    return this.#transfers.takeovers;
  }

  /** Whether its disk has returned what was not there: then it may refuse to start. */
  isBadlyRead(server: SimServer): boolean {
    return this.#badlyRead.has(server);
  }

  /** Leaders are hit more often than chance would: that is where it hurts. */
  victim(): SimServer {
    const leader = this.#cluster.leader();
    return leader !== undefined && this.#random.chance(0.5)
      ? leader
      : this.#random.pick(this.#cluster.servers);
  }

  later(meanMs: number, run: () => void): void {
    this.#cluster.scheduler.after(this.#random.exponential(meanMs), undefined, run);
  }

  crash(server: SimServer, restartMeanMs = this.#random.pick([5, 100, 1000])): void {
    if (!server.up) return;
    this.crashes++;
    server.crash();
    this.restartLater(server, restartMeanMs);
  }

  /** Some servers are back before anybody has missed them. */
  restartLater(server: SimServer, meanMs: number): void {
    this.later(meanMs, () => {
      if (!server.up && this.#cluster.servers.includes(server)) server.start();
    });
  }

  afterEvent(): void {
    this.#transfers.afterEvent();
  }

  /** There is a leader of a new term. */
  newLeader(leader: SimServer): void {
    if (this.#cluster.scheduler.nowMs >= this.#figure8UntilMs) return;
    this.later(this.#random.pick([0.3, 1, 3]), () => {
      if (leader.isLeader) this.crash(leader, this.#electionTimeoutMs * this.#random.pick([0.2, 2]));
    });
  }

  onSend(from: number, message: PeerMessage): void {
    this.#maybeCrashVoter(from, message);
  }

  mend(): void {
    const { network, servers, scheduler } = this.#cluster;
    this.#figure8UntilMs = 0;
    this.#crashVoters = 0;
    this.#transfers.disarm();
    this.#cluster.snapshotBytesPerSecond = 64 << 20;
    network.mendAll();
    network.faults = { ...GOOD_NETWORK };
    for (const server of servers) {
      Object.assign(server.disk.faults, GOOD_DISK);
      Object.assign(server.store.faults, { failNextBatch: false, stallMs: 0 });
      if (server.life?.paused) scheduler.resume(server.life);
    }
  }

  get #electionTimeoutMs(): number {
    return this.#cluster.options.limits?.electionTimeoutMs ?? 1000;
  }

  commit(fault: keyof FaultWeights): void {
    const cluster = this.#cluster;
    const { network } = cluster;
    const victim = this.victim();
    cluster.options.trace?.(`${cluster.scheduler.nowMs.toFixed(2)} fault: ${fault} n${victim.id}`);
    switch (fault) {
      case 'crash':
        return this.crash(victim);
      case 'crashVoters':
        return this.#hurtElection(victim);
      case 'figure8':
        return this.#figure8(victim);
      case 'halfSent':
        return this.#crashHalfSent();
      case 'crashAll':
        for (const server of cluster.servers) this.crash(server);
        return;
      case 'partition':
        network.partition(...this.#sides());
        return this.later(1500, () => network.mendAll());
      case 'oneWay':
        return this.#cutOneWay(victim);
      case 'bridge':
        return this.#bridge();
      case 'pause':
        return this.#pause(victim);
      case 'clockJump':
        victim.clockFaults.wallSkewMs += this.#random.pick([-3_600_000, -1000, 1000, 3_600_000]);
        return;
      case 'diskStall':
      case 'storeStall':
      case 'diskError':
      case 'storeError':
      case 'diskFull':
      case 'badReads':
        return this.#hurtDisk(fault, victim);
      case 'unreliable':
        network.faults = this.#unreliable();
        return this.later(3000, () => {
          network.faults = { ...GOOD_NETWORK };
        });
      case 'transfer':
        victim.replica?.giveUpLeadership();
        return;
      case 'failover':
        return this.#transfers.takeOver(this.#random.pick(cluster.servers));
      case 'away':
        return this.#away();
      case 'breakStreams':
        return this.#transfers.breakStreams(victim);
      case 'needlessSnapshot':
        return this.#transfers.sendNeedless();
      case 'crashTransfer':
        return this.#transfers.arm();
      case 'reset':
        cluster.streams!.reset(victim.id, this.#random.pick(cluster.ids));
        return;
      case 'halfOpen':
        cluster.streams!.halfOpen(victim.id, this.#random.pick(cluster.ids));
        return;
      case 'stall':
        cluster.streams!.stall(victim.id, this.#random.pick(cluster.ids), this.#random.exponential(1000));
        return;
    }
  }

  #hurtDisk(
    fault: 'diskStall' | 'storeStall' | 'diskError' | 'storeError' | 'diskFull' | 'badReads',
    victim: SimServer,
  ): void {
    const { disk, store } = victim;
    const stallMs = this.#random.between(50, 3000);
    const backSoon = () => {
      if (!victim.up) this.restartLater(victim, 100);
    };
    switch (fault) {
      case 'diskStall':
        return this.#forAWhile(1000, disk.faults, { stallMs }, { stallMs: 0 });
      case 'storeStall':
        return this.#forAWhile(1000, store.faults, { stallMs }, { stallMs: 0 });
      case 'diskError':
        return this.#forAWhile(500, disk.faults, { failNextWrite: true }, { failNextWrite: false }, backSoon);
      case 'storeError':
        return this.#forAWhile(
          ...([500, store.faults, { failNextBatch: true }, { failNextBatch: false }, backSoon] as const),
        );
      case 'diskFull':
        return this.#forAWhile(3000, disk.faults, { full: true }, { full: false });
      case 'badReads': {
        this.#badlyRead.add(victim);
        const bad = { flipReadChance: this.#random.fraction(), misdirectReadChance: this.#random.fraction() };
        this.crash(victim, 5);
        return this.#forAWhile(
          ...([3000, disk.faults, bad, { flipReadChance: 0, misdirectReadChance: 0 }, backSoon] as const),
        );
      }
    }
  }

  #forAWhile<T extends object>(
    meanMs: number,
    faults: T,
    bad: Partial<T>,
    good: Partial<T>,
    then: () => void = () => {},
  ): void {
    Object.assign(faults, bad);
    this.later(meanMs, () => {
      Object.assign(faults, good);
      then();
    });
  }

  /** A follower is cut off, or down, for so long that the others' logs may leave it behind; one at a time. */
  #away(): void {
    const { network, servers, ids } = this.#cluster;
    const followers = servers.filter((server) => !server.isLeader && server.up);
    if (this.#isAway || followers.length < 2) return;
    const away = this.#random.pick(followers);
    if (this.#random.chance(0.3)) return this.crash(away, 2000);
    const others = ids.filter((id) => id !== away.id);
    const both = (change: (from: number, to: number) => void) => {
      for (const other of others) {
        change(away.id, other);
        change(other, away.id);
      }
    };
    this.#isAway = true;
    both((from, to) => network.cut(from, to));
    this.#cluster.scheduler.after(this.#random.between(200, 1500), undefined, () => {
      this.#isAway = false;
      both((from, to) => network.mend(from, to));
    });
  }

  /** An election on a slow network, so that candidates overlap, in which those who have voted crash. */
  #hurtElection(leader: SimServer): void {
    const { network } = this.#cluster;
    network.faults = { ...GOOD_NETWORK, delayMeanMs: this.#random.pick([10, 30]), doubleChance: 0.3 };
    this.later(2000, () => {
      network.faults = { ...GOOD_NETWORK };
    });
    this.#crashVoters = 1 + this.#random.below(6);
    this.crash(leader);
  }

  /** The moment at which forgetting hurts most: the vote is on its way, and the one who gave it falls. */
  #maybeCrashVoter(from: number, message: PeerMessage): void {
    if (this.#crashVoters === 0 || message.kind !== 'raft' || message.message.type !== 'RequestVoteResponse')
      return;
    if (!message.message.voteGranted) return;
    this.#crashVoters--;
    this.#cluster.scheduler.after(0, undefined, () => {
      const voter = this.#cluster.servers.find(({ id }) => id === from);
      if (voter !== undefined) this.crash(voter, 3);
    });
  }

  /** Leaders that fall as soon as they lead, on a network that loses much: entries of many terms lie about. */
  #figure8(leader: SimServer): void {
    const forMs = 40 * this.#electionTimeoutMs;
    this.#figure8UntilMs = this.#cluster.scheduler.nowMs + forMs;
    this.#cluster.network.faults = { ...GOOD_NETWORK, lossChance: this.#random.pick([0, 0.3]) };
    this.#cluster.scheduler.after(forMs, undefined, () => {
      this.#cluster.network.faults = { ...GOOD_NETWORK };
    });
    this.crash(leader);
  }

  /** A leader reaches one follower with its entries, and none of the others, and falls. (figure 8 of the paper) */
  #crashHalfSent(): void {
    const { network, ids } = this.#cluster;
    const leader = this.#cluster.leader();
    if (leader === undefined) return;
    const reached = this.#random.pick(ids);
    const others = ids.filter((id) => id !== leader.id && id !== reached);
    for (const other of others) network.cut(leader.id, other);
    this.later(20, () => {
      this.crash(leader, this.#random.pick([5, 100]));
      for (const other of others) network.mend(leader.id, other);
    });
  }

  #sides(): number[][] {
    const sides: number[][] = [[], []];
    for (const id of this.#cluster.ids) sides[this.#random.below(2)]!.push(id);
    return sides;
  }

  #cutOneWay(victim: SimServer): void {
    const { network, ids } = this.#cluster;
    const others = ids.filter((id) => id !== victim.id);
    const hears = this.#random.chance(0.5);
    for (const other of others) {
      if (hears) network.cut(victim.id, other);
      else network.cut(other, victim.id);
    }
    this.later(1500, () => network.mendAll());
  }

  /** Two sides that do not hear each other, and one server that both hear. */
  #bridge(): void {
    const { network, ids } = this.#cluster;
    const middle = this.#random.pick(ids);
    const sides = this.#sides().map((side) => side.filter((id) => id !== middle));
    network.partition(...sides);
    this.later(1500, () => network.mendAll());
  }

  #pause(victim: SimServer): void {
    const { life } = victim;
    if (life === undefined || life.paused) return;
    life.paused = true;
    this.later(1500, () => this.#cluster.scheduler.resume(life));
  }

  #unreliable(): typeof GOOD_NETWORK {
    const random = this.#random;
    return {
      lossChance: random.pick([0, 0.1, 0.3]),
      doubleChance: random.pick([0, 0.1, 0.5]),
      delayMinMs: 0.1,
      delayMeanMs: random.pick([0.2, 5, 30]),
      longDelayChance: random.pick([0, 0, 0.05]),
    };
  }
}

/**
 * One seed, one world: a cluster, its clients, and faults of every kind, each kind switched on or off and weighted by
 * the seed (swarm testing: a fault that happens all the time hides what a rare one would show).
 *
 * Two phases. In the first everything may go wrong that the cluster must survive, and after every event the invariants
 * hold. In the second all is mended: then the cluster must come to rest, agree, and serve every server's clients
 * (liveness). At the end the clients' history must be linearizable. After TigerBeetle's VOPR.
 */
import { assert } from '../../src/lib/assert.ts';
import { DiskFullError } from '../../src/lib/errors.ts';
import type { PeerMessage } from '../../src/server/peer-message.ts';
import { AccountClient, accountModel } from './account-clients.ts';
import type { SwarmClient } from './calls.ts';
import { SimClient, type Workload } from './clients.ts';
import { Cluster, type ClusterOptions, type SimServer } from './cluster.ts';
import { Invariants } from './invariants.ts';
import { type KeyOp, keyModel, type StoreOp, storeModel } from './kv-models.ts';
import { checkLinearizable, type Operation } from './linearizability.ts';
import { GOOD_NETWORK } from './network.ts';
import { SimRandom } from './random.ts';
import { SessionClient } from './session-clients.ts';
import { TtlClient, ttlModel } from './ttl-clients.ts';

export interface SwarmResult {
  readonly seed: number;
  /** Undefined when all went well. */
  readonly failure: string | undefined;
  readonly events: number;
  readonly operations: number;
  readonly unknown: number;
  readonly crashes: number;
  readonly elections: number;
  readonly virtualMs: number;
}

interface FaultWeights {
  crash: number;
  crashVoters: number;
  halfSent: number;
  figure8: number;
  crashAll: number;
  partition: number;
  oneWay: number;
  bridge: number;
  pause: number;
  clockJump: number;
  diskStall: number;
  diskError: number;
  diskFull: number;
  unreliable: number;
  transfer: number;
  /** Of connections; without them, that is with packets, 0. */
  reset: number;
  halfOpen: number;
  stall: number;
}

const FAULTS_FOR_MS = 15_000;
const HEALED_WITHIN_MS = 30_000;

export async function runSeed(seed: number, trace?: (line: string) => void): Promise<SwarmResult> {
  const swarm = new Swarm(seed, trace);
  let failure: string | undefined;
  try {
    await swarm.run();
  } catch (error) {
    failure = error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  return swarm.result(failure);
}

class Swarm {
  readonly #seed: number;
  readonly #random: SimRandom;
  readonly #cluster: Cluster;
  readonly #invariants: Invariants;
  readonly #workload: Workload;
  readonly #weights: FaultWeights;
  readonly #meanBetweenFaultsMs: number;
  #plain: SimClient[] = [];
  #accounts: AccountClient[] = [];
  #sessions: SessionClient[] = [];
  #ttls: TtlClient[] = [];
  #crashes = 0;
  /** Until then, every new leader falls within milliseconds. */
  #figure8UntilMs = 0;
  /** So many of the next votes cost their giver its life. */
  #crashVoters = 0;
  #terms = new Set<number>();

  constructor(seed: number, trace: ((line: string) => void) | undefined) {
    this.#seed = seed;
    this.#random = new SimRandom(seed ^ 0x5eed);
    const random = this.#random;
    const options: ClusterOptions = {
      seed,
      servers: random.pick([1, 3, 3, 3, 5, 5]),
      memoryBytesMax: random.pick([1024, 4096, 1 << 20]),
      walSegmentBytes: random.pick([8 << 10, 32 << 10]),
      commandTimeoutMs: random.pick([5000, 5000, 200]),
      // Checkpoints every few entries, so that the log is cut all the time, or nearly never.
      checkpoints: {
        dirtyBytesMax: 1 << 20,
        entriesMax: random.pick([10, 50, 100_000]),
        intervalMs: random.pick([300, 10_000]),
      },
      // Short timeouts make many elections, and several candidates at once.
      limits: random.pick([
        {},
        { electionTimeoutMs: 300 },
        { electionTimeoutMs: 60, heartbeatIntervalMs: 15 },
      ]),
      // The real links, for a quarter of the seeds.
      links: seed % 4 === 0 ? 'streams' : 'packets',
      ...(trace === undefined ? {} : { trace }),
    };
    this.#cluster = new Cluster(options);
    this.#invariants = new Invariants(this.#cluster);
    // Busy for as long as there are faults, with many or with few commands.
    const pauseMeanMs = random.pick([60, 200, 500]);
    this.#workload = {
      keys: random.pick([1, 3, 10]),
      operationsPerClient: Math.ceil(FAULTS_FOR_MS / pauseMeanMs),
      pauseMeanMs,
      pipelineMax: random.pick([1, 1, 4]),
      multiKey: random.chance(0.3),
    };
    const weight = () => (random.chance(0.5) ? random.fraction() : 0);
    this.#weights = {
      ...{
        crash: weight(),
        crashVoters: weight() / 2,
        halfSent: weight(),
        figure8: weight() / 2,
        crashAll: weight() / 4,
        partition: weight(),
        oneWay: weight(),
        bridge: weight() / 2,
      },
      ...{ pause: weight(), clockJump: weight(), diskStall: weight() / 2, diskError: weight() / 4 },
      ...{ diskFull: weight() / 4, unreliable: weight(), transfer: weight() / 2 },
      ...{ reset: 0, halfOpen: 0, stall: 0 },
    };
    this.#meanBetweenFaultsMs = random.pick([200, 800, 3000]);
    if (options.links === 'streams') {
      Object.assign(this.#weights, { reset: weight(), halfOpen: weight(), stall: weight() });
    }
  }

  async run(): Promise<void> {
    const cluster = this.#cluster;
    cluster.onSend = (from, _to, message) => {
      this.#invariants.onSend(from, message);
      this.#maybeCrashVoter(from, message);
    };
    cluster.scheduler.afterEvent = () => this.#afterEvent();
    cluster.startAll();
    this.#makeClients();
    this.#scheduleFault();
    await cluster.run(FAULTS_FOR_MS);
    await this.#heal();
    this.#checkHistory();
    await this.#checkExpiry();
  }

  #makeClients(): void {
    const [cluster, random] = [this.#cluster, this.#random];
    const work = { untilMs: FAULTS_FOR_MS, pauseMeanMs: this.#workload.pauseMeanMs };
    const some = (choices: readonly number[]) => Array.from({ length: random.pick(choices) }, (_, i) => i);
    this.#plain = some([2, 4, 8]).map((i) => new SimClient(cluster, i, this.#workload));
    this.#accounts = some([0, 0, 3]).map((i) => new AccountClient(cluster, i, work));
    this.#sessions = some([0, 0, 3]).map((i) => new SessionClient(cluster, i, work));
    this.#ttls = some([0, 0, 3]).map((i) => new TtlClient(cluster, i, work));
  }

  get #clients(): readonly SwarmClient[] {
    return [...this.#plain, ...this.#accounts, ...this.#sessions, ...this.#ttls];
  }

  #afterEvent(): void {
    this.#invariants.check();
    for (const server of this.#cluster.servers) {
      if (server.isLeader) this.#seeLeader(server, server.replica!.raft.term);
      if (server.fatal === undefined || server.fatal.message === 'input/output error') continue;
      if (!(server.fatal instanceof DiskFullError)) throw server.fatal;
      // There was no room to start at all.
      server.fatal = undefined;
      this.#restartLater(server, 500);
    }
  }

  #seeLeader(leader: SimServer, term: number): void {
    if (this.#terms.has(term)) return;
    this.#terms.add(term);
    if (this.#cluster.scheduler.nowMs >= this.#figure8UntilMs) return;
    this.#later(this.#random.pick([0.3, 1, 3]), () => {
      if (leader.isLeader) this.#crash(leader, this.#electionTimeoutMs * this.#random.pick([0.2, 2]));
    });
  }

  get #electionTimeoutMs(): number {
    return this.#cluster.options.limits?.electionTimeoutMs ?? 1000;
  }

  result(failure: string | undefined): SwarmResult {
    return {
      ...{ seed: this.#seed, failure, crashes: this.#crashes, elections: this.#terms.size },
      events: this.#cluster.scheduler.eventCount,
      operations: this.#clients.reduce((sum, client) => sum + client.operations, 0),
      unknown: this.#clients.reduce((sum, client) => sum + client.unknown, 0),
      virtualMs: this.#cluster.scheduler.nowMs,
    };
  }

  // Faults

  #scheduleFault(): void {
    const { scheduler } = this.#cluster;
    scheduler.after(this.#random.exponential(this.#meanBetweenFaultsMs), undefined, () => {
      if (scheduler.nowMs >= FAULTS_FOR_MS) return;
      this.#fault();
      this.#scheduleFault();
    });
  }

  #fault(): void {
    const names = Object.keys(this.#weights) as (keyof FaultWeights)[];
    let at = this.#random.fraction() * names.reduce((sum, name) => sum + this.#weights[name], 0);
    const chosen = names.find((name) => {
      at -= this.#weights[name];
      return at < 0;
    });
    if (chosen !== undefined) this.#commit(chosen);
  }

  /** Leaders are hit more often than chance would: that is where it hurts. */
  #victim(): SimServer {
    const leader = this.#cluster.leader();
    return leader !== undefined && this.#random.chance(0.5)
      ? leader
      : this.#random.pick(this.#cluster.servers);
  }

  #later(meanMs: number, run: () => void): void {
    this.#cluster.scheduler.after(this.#random.exponential(meanMs), undefined, run);
  }

  #commit(fault: keyof FaultWeights): void {
    const cluster = this.#cluster;
    const { network } = cluster;
    const victim = this.#victim();
    cluster.options.trace?.(`${cluster.scheduler.nowMs.toFixed(2)} fault: ${fault} n${victim.id}`);
    switch (fault) {
      case 'crash':
        return this.#crash(victim);
      case 'crashVoters':
        return this.#hurtElection(victim);
      case 'figure8':
        return this.#figure8(victim);
      case 'halfSent':
        return this.#crashHalfSent();
      case 'crashAll':
        for (const server of cluster.servers) this.#crash(server);
        return;
      case 'partition':
        network.partition(...this.#sides());
        return this.#later(1500, () => network.mendAll());
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
        victim.disk.faults.stallMs = this.#random.between(50, 3000);
        return this.#later(1000, () => {
          victim.disk.faults.stallMs = 0;
        });
      case 'diskError':
        victim.disk.faults.failNextWrite = true;
        return this.#later(500, () => {
          victim.disk.faults.failNextWrite = false;
          if (!victim.up) this.#restartLater(victim, 100);
        });
      case 'diskFull':
        victim.disk.faults.full = true;
        return this.#later(3000, () => {
          victim.disk.faults.full = false;
        });
      case 'unreliable':
        network.faults = this.#unreliable();
        return this.#later(3000, () => {
          network.faults = { ...GOOD_NETWORK };
        });
      case 'transfer':
        victim.replica?.giveUpLeadership();
        return;
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

  /** An election on a slow network, so that candidates overlap, in which those who have voted crash. */
  #hurtElection(leader: SimServer): void {
    const { network } = this.#cluster;
    network.faults = { ...GOOD_NETWORK, delayMeanMs: this.#random.pick([10, 30]), doubleChance: 0.3 };
    this.#later(2000, () => {
      network.faults = { ...GOOD_NETWORK };
    });
    this.#crashVoters = 1 + this.#random.below(6);
    this.#crash(leader);
  }

  /** The moment at which forgetting hurts most: the vote is on its way, and the one who gave it falls. */
  #maybeCrashVoter(from: number, message: PeerMessage): void {
    if (this.#crashVoters === 0 || message.kind !== 'raft' || message.message.type !== 'RequestVoteResponse')
      return;
    if (!message.message.voteGranted) return;
    this.#crashVoters--;
    this.#cluster.scheduler.after(0, undefined, () => this.#crash(this.#cluster.server(from), 3));
  }

  /** Leaders that fall as soon as they lead, on a network that loses much: entries of many terms lie about. */
  #figure8(leader: SimServer): void {
    const forMs = 40 * this.#electionTimeoutMs;
    this.#figure8UntilMs = this.#cluster.scheduler.nowMs + forMs;
    this.#cluster.network.faults = { ...GOOD_NETWORK, lossChance: this.#random.pick([0, 0.3]) };
    this.#cluster.scheduler.after(forMs, undefined, () => {
      this.#cluster.network.faults = { ...GOOD_NETWORK };
    });
    this.#crash(leader);
  }

  /** A leader reaches one follower with its entries, and none of the others, and falls. (figure 8 of the paper) */
  #crashHalfSent(): void {
    const { network, ids } = this.#cluster;
    const leader = this.#cluster.leader();
    if (leader === undefined) return;
    const reached = this.#random.pick(ids);
    const others = ids.filter((id) => id !== leader.id && id !== reached);
    for (const other of others) network.cut(leader.id, other);
    this.#later(20, () => {
      this.#crash(leader, this.#random.pick([5, 100]));
      for (const other of others) network.mend(leader.id, other);
    });
  }

  #crash(server: SimServer, restartMeanMs = this.#random.pick([5, 100, 1000])): void {
    if (!server.up) return;
    this.#crashes++;
    server.crash();
    this.#restartLater(server, restartMeanMs);
  }

  /** Some servers are back before anybody has missed them. */
  #restartLater(server: SimServer, meanMs: number): void {
    this.#later(meanMs, () => {
      if (!server.up) server.start();
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
    this.#later(1500, () => network.mendAll());
  }

  /** Two sides that do not hear each other, and one server that both hear. */
  #bridge(): void {
    const { network, ids } = this.#cluster;
    const middle = this.#random.pick(ids);
    const sides = this.#sides().map((side) => side.filter((id) => id !== middle));
    network.partition(...sides);
    this.#later(1500, () => network.mendAll());
  }

  #pause(victim: SimServer): void {
    const { life } = victim;
    if (life === undefined || life.paused) return;
    life.paused = true;
    this.#later(1500, () => this.#cluster.scheduler.resume(life));
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

  // The end

  async #heal(): Promise<void> {
    const cluster = this.#cluster;
    this.#figure8UntilMs = 0;
    this.#crashVoters = 0;
    cluster.network.mendAll();
    cluster.network.faults = { ...GOOD_NETWORK };
    for (const server of cluster.servers) {
      Object.assign(server.disk.faults, { full: false, failNextWrite: false, stallMs: 0 });
      if (server.life?.paused) cluster.scheduler.resume(server.life);
    }
    cluster.startAll();
    const healed = await cluster.until(() => this.#clients.every((client) => client.done), HEALED_WITHIN_MS);
    assert(healed, 'when all is mended, every client is served', this.#describe());
    const agreed = await cluster.until(() => this.#atRest(), HEALED_WITHIN_MS);
    assert(agreed, 'when all is mended, the servers agree', this.#describe());
  }

  #atRest(): boolean {
    const replicas = this.#cluster.servers.map((server) => server.replica);
    const applied = new Set(replicas.map((replica) => replica?.stateMachine.appliedIndex));
    return applied.size === 1 && !applied.has(undefined) && replicas.every((r) => r!.stateMachine.atRest);
  }

  #describe(): string {
    const servers = this.#cluster.servers.map(({ id, replica }) => {
      if (replica === undefined) return `n${id} down`;
      const { raft, stateMachine, writes } = replica;
      const { log } = raft;
      return (
        `n${id} ${raft.role} term ${raft.term} leader ${raft.leaderId} last ${log.lastIndex} stable ${log.stableIndex} ` +
        `commit ${log.commitIndex} applied ${stateMachine.appliedIndex} outstanding ${writes.outstanding}`
      );
    });
    return servers.join('; ');
  }

  #checkHistory(): void {
    const sessions: Operation<StoreOp>[] = this.#sessions.flatMap(({ history }) => history.operations);
    const history = [...this.#plain.flatMap((client) => client.history), ...sessions];
    // A read of unknown outcome says nothing.
    const telling = history.filter(
      ({ op }) => op.reply !== undefined || (op.name !== 'GET' && op.name !== 'MGET'),
    );
    const keyed = telling.every(({ op }) => op.name !== 'MGET' && op.name !== 'MSET');
    const verdict = keyed
      ? checkLinearizable(keyModel, telling as Operation<KeyOp>[])
      : checkLinearizable(storeModel, telling as Operation<StoreOp>[], { stepsMax: 300_000 });
    const accounts = this.#accounts.flatMap((client) => client.history.operations);
    const ttls = this.#ttls.flatMap((client) => client.history.operations);
    for (const { outcome, description } of [
      verdict,
      checkLinearizable(accountModel, accounts, { stepsMax: 300_000 }),
      checkLinearizable(ttlModel, ttls, { stepsMax: 300_000 }),
    ]) {
      assert(outcome !== 'violation', 'the history is linearizable', `\n${description}`);
    }
  }

  /** When the time has come by every clock, what is mortal goes, without anybody asking for it. */
  async #checkExpiry(): Promise<void> {
    const { servers } = this.#cluster;
    for (const { clockFaults } of servers) clockFaults.wallSkewMs = 24 * 3_600_000;
    const gone = await this.#cluster.until(
      () => servers.every((server) => server.replica!.stateMachine.expiring.every((count) => count === 0)),
      HEALED_WITHIN_MS,
    );
    assert(gone, 'keys that have expired are removed in the background', this.#describe());
  }
}

/** What a seed's world with jobs is like: its servers, how fast their threads are and how they fail, and its faults. */
import type { ClusterOptions } from '../../sim/cluster.ts';
import type { SimRandom } from '../../sim/random.ts';
import type { FaultWeights } from '../../sim/swarm-options.ts';

export interface JobWorldOptions {
  readonly cluster: ClusterOptions;
  readonly slots: number;
  readonly jobs: number;
  readonly weights: FaultWeights;
  /** Undefined: there are none. */
  readonly meanBetweenFaultsMs: number | undefined;
  readonly meanBetweenChangesMs: number | undefined;
  /** Jobs that somebody cancels. */
  readonly cancelled: number;
  /** Chunks of results that are held up before they are written. */
  readonly heldUp: number;
  /** One server never reaches the shuffle server of another one, though the store is well. */
  readonly walled: boolean;
  /** Between the questions of a client. */
  readonly askMeanMs: number;
  /** Of leadership, there and back. */
  readonly meanBetweenReturnsMs: number | undefined;
  /** How often a coordinator falls when it is about to end a job. */
  readonly crashesEnding: number;
  readonly threads: ThreadFaults;
}

/** Chances are of each attempt. */
export interface ThreadFaults {
  /** Mean time of an attempt, and of one on the slow server. */
  readonly workMs: number;
  readonly slowMs: number;
  readonly slowNode: number;
  readonly dies: number;
  readonly hangs: number;
  readonly fails: number;
  readonly shuffleDies: number;
  /** While others faults go on. */
  readonly meanBetweenKillsMs: number | undefined;
  readonly meanBetweenEmptiedMs: number | undefined;
}

export const JOB_FAULTS_FOR_MS = 15_000;

const NO_FAULTS: FaultWeights = {
  ...{ crash: 0, crashVoters: 0, halfSent: 0, figure8: 0, crashAll: 0, partition: 0, oneWay: 0, bridge: 0 },
  ...{ pause: 0, clockJump: 0, diskStall: 0, storeStall: 0, diskError: 0, storeError: 0, diskFull: 0 },
  ...{ badReads: 0, unreliable: 0, transfer: 0, failover: 0, away: 0, breakStreams: 0, crashTransfer: 0 },
  ...{ needlessSnapshot: 0, reset: 0, halfOpen: 0, stall: 0 },
};

export function drawJobWorld(seed: number, random: SimRandom): JobWorldOptions {
  const snapshots = random.chance(0.3);
  const links = seed % 4 === 0 ? 'streams' : 'packets';
  const cluster: ClusterOptions = {
    ...{ seed, links, servers: random.pick([1, 3, 3, 3, 5]) },
    memoryBytesMax: random.pick([4096, 1 << 20]),
    walSegmentBytes: snapshots ? 8 << 10 : 32 << 10,
    walKeepBytes: snapshots ? 16 << 10 : 1 << 20,
    checkpoints: {
      dirtyBytesMax: 1 << 20,
      entriesMax: snapshots ? random.pick([10, 50]) : random.pick([50, 100_000]),
      intervalMs: random.pick([300, 10_000]),
    },
    limits: random.pick([{}, { electionTimeoutMs: 300 }]),
  };
  return {
    cluster,
    slots: random.pick([1, 2, 3]),
    jobs: random.pick([2, 4, 6]),
    weights: drawWeights(random, links === 'streams'),
    meanBetweenFaultsMs: random.pick([300, 1000, 3000]),
    meanBetweenChangesMs: random.pick([undefined, undefined, 3000]),
    threads: drawThreads(random),
    meanBetweenReturnsMs: random.pick([undefined, 400]),
    crashesEnding: random.pick([0, 0.5]),
    askMeanMs: random.pick([300, 30]),
    cancelled: random.pick([0.1, 0.1, 0.6]),
    heldUp: random.pick([0, 0.2]),
    walled: cluster.servers >= 3 && random.chance(0.2),
  };
}

/** A world in which nothing goes wrong. */
export function quietJobWorld(seed: number, random: SimRandom): JobWorldOptions {
  const quiet = { dies: 0, hangs: 0, fails: 0, shuffleDies: 0, slowNode: 0, slowMs: 0, workMs: 50 };
  return {
    ...drawJobWorld(seed, random),
    ...{ cluster: { seed, servers: 3 }, slots: 2, weights: NO_FAULTS },
    ...{ meanBetweenFaultsMs: undefined, meanBetweenChangesMs: undefined },
    ...{ meanBetweenReturnsMs: undefined, crashesEnding: 0, heldUp: 0, walled: false },
    threads: { ...quiet, meanBetweenKillsMs: undefined, meanBetweenEmptiedMs: undefined },
  };
}

function drawWeights(random: SimRandom, streams: boolean): FaultWeights {
  const weight = () => (random.chance(0.5) ? random.fraction() : 0);
  return {
    ...NO_FAULTS,
    ...{ crash: 0.5 + weight(), halfSent: weight() / 2, crashAll: weight() / 4, figure8: weight() / 8 },
    ...{
      partition: weight(),
      oneWay: weight(),
      bridge: weight() / 2,
      pause: weight(),
      clockJump: weight() / 2,
    },
    ...{ diskStall: weight() / 4, storeStall: weight() / 4, unreliable: weight(), transfer: weight() },
    ...{ failover: weight() / 2, away: weight() },
    ...(streams ? { reset: weight(), halfOpen: weight(), stall: weight() } : {}),
  };
}

function drawThreads(random: SimRandom): ThreadFaults {
  const chance = (most: number) => (random.chance(0.5) ? most * random.fraction() : 0);
  return {
    workMs: random.pick([20, 200, 1000]),
    slowMs: random.pick([1000, 5000]),
    // Of one server, or of none.
    slowNode: random.pick([0, 1, 2]),
    ...{ dies: chance(0.1), hangs: chance(0.02), fails: chance(0.1), shuffleDies: chance(0.3) },
    meanBetweenKillsMs: random.pick([undefined, 1000]),
    meanBetweenEmptiedMs: random.pick([undefined, 3000]),
  };
}

/**
 * What a seed's world is like: how many servers, how large their memories, logs and windows, what the clients do, and
 * which faults there are and how often (swarm testing: a fault that happens all the time hides what a rare one would
 * show).
 */
import type { Workload } from './clients.ts';
import type { ClusterOptions } from './cluster.ts';
import type { SimRandom } from './random.ts';

/** How often each happens, to the others. */
export interface FaultWeights {
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
  storeStall: number;
  diskError: number;
  storeError: number;
  diskFull: number;
  badReads: number;
  unreliable: number;
  transfer: number;
  /** Of a server that asks for leadership. */
  failover: number;
  /** One is away for so long that it needs a snapshot. */
  away: number;
  breakStreams: number;
  crashTransfer: number;
  needlessSnapshot: number;
  /** Of connections; without them, that is with packets, 0. */
  reset: number;
  halfOpen: number;
  stall: number;
}

export interface SwarmOptions {
  readonly cluster: ClusterOptions;
  readonly workload: Workload;
  readonly weights: FaultWeights;
  readonly meanBetweenFaultsMs: number;
  /** Between changes of the members; undefined: they stay who they are. */
  readonly meanBetweenChangesMs: number | undefined;
  /** Values that take a snapshot many chunks; 0: none. */
  readonly ballastKeys: number;
  /** Whether a disk rots for good; at most one server's at a time, and it is replaced. */
  readonly rot: boolean;
  /** Whether views of the keys are made and read. */
  readonly views: boolean;
}

export const FAULTS_FOR_MS = 15_000;

export function drawOptions(seed: number, random: SimRandom): SwarmOptions {
  const options = draw(seed, random);
  return seed % 8 === 5 ? stormy(options) : options;
}

/** Somebody is always away, for a moment, and has to be sent a snapshot. */
function stormy(options: SwarmOptions): SwarmOptions {
  const { cluster, workload, weights } = options;
  const checkpoints = { dirtyBytesMax: 1 << 20, entriesMax: 5, intervalMs: 300 };
  const log = { walSegmentBytes: 4 << 10, walKeepBytes: 4 << 10, checkpoints };
  const pauseMeanMs = 40;
  return {
    ...options,
    cluster: { ...cluster, ...log, servers: Math.max(3, cluster.servers), snapshotBytesPerSecond: 1 << 20 },
    workload: { ...workload, pauseMeanMs, operationsPerClient: Math.ceil(FAULTS_FOR_MS / pauseMeanMs) },
    weights: { ...weights, away: 6, crashTransfer: 2, figure8: 0 },
    meanBetweenFaultsMs: 200,
  };
}

/** The draws come in this order for ever, or every seed is another. */
function draw(seed: number, random: SimRandom): SwarmOptions {
  const snapshots = random.chance(0.6);
  const cluster: ClusterOptions = {
    seed,
    servers: random.pick([1, 3, 3, 3, 5, 5]),
    memoryBytesMax: random.pick([1024, 4096, 1 << 20]),
    walSegmentBytes: snapshots ? random.pick([4 << 10, 8 << 10]) : random.pick([8 << 10, 32 << 10]),
    // So little that whoever was away for a moment needs a snapshot, or more than there ever is.
    walKeepBytes: snapshots ? random.pick([4 << 10, 16 << 10]) : random.pick([64 << 10, 1 << 20]),
    snapshotBytesPerSecond: random.pick([100 << 10, 1 << 20, 64 << 20]),
    commandTimeoutMs: random.pick([5000, 5000, 200]),
    // Checkpoints every few entries, so that the log is cut all the time, or nearly never.
    checkpoints: {
      dirtyBytesMax: 1 << 20,
      entriesMax: snapshots ? random.pick([5, 10, 50]) : random.pick([10, 50, 100_000]),
      intervalMs: random.pick([300, 10_000]),
    },
    // Short timeouts make many elections, and several candidates at once.
    limits: random.pick([{}, { electionTimeoutMs: 300 }, { electionTimeoutMs: 60, heartbeatIntervalMs: 15 }]),
    // The real links, for a quarter of the seeds.
    links: seed % 4 === 0 ? 'streams' : 'packets',
  };
  // Busy for as long as there are faults, with many or with few commands.
  const pauseMeanMs = random.pick([60, 200, 500]);
  return {
    cluster,
    workload: {
      keys: random.pick([1, 3, 10]),
      operationsPerClient: Math.ceil(FAULTS_FOR_MS / pauseMeanMs),
      pauseMeanMs,
      pipelineMax: random.pick([1, 1, 4]),
      multiKey: random.chance(0.3),
    },
    weights: drawWeights(random, { streams: cluster.links === 'streams', snapshots }),
    meanBetweenFaultsMs: random.pick([200, 800, 3000]),
    meanBetweenChangesMs: random.pick([undefined, 300, 1500]),
    ballastKeys: snapshots ? random.pick([0, 5]) : 0,
    rot: random.chance(0.15),
    views: seed % 4 === 3,
  };
}

function drawWeights(random: SimRandom, world: { streams: boolean; snapshots: boolean }): FaultWeights {
  const weight = () => (random.chance(0.5) ? random.fraction() : 0);
  const weights: FaultWeights = {
    ...{ crash: weight(), crashVoters: weight() / 2, halfSent: weight(), figure8: weight() / 2 },
    ...{ crashAll: weight() / 4, partition: weight(), oneWay: weight(), bridge: weight() / 2 },
    ...{ pause: weight(), clockJump: weight() },
    ...{
      diskStall: weight() / 2,
      storeStall: weight() / 2,
      diskError: weight() / 4,
      storeError: weight() / 4,
    },
    ...{ diskFull: weight() / 4, badReads: weight() / 2, unreliable: weight(), transfer: weight() / 2 },
    ...{ failover: weight() / 2, away: 0, breakStreams: 0, crashTransfer: 0, needlessSnapshot: weight() / 2 },
    ...{ reset: 0, halfOpen: 0, stall: 0 },
  };
  if (world.snapshots) {
    const often = { away: 1 + weight(), crashTransfer: random.pick([0, 1, 2]) };
    Object.assign(weights, { ...often, breakStreams: weight(), needlessSnapshot: weight() });
  }
  if (world.streams) Object.assign(weights, { reset: weight(), halfOpen: weight(), stall: weight() });
  return weights;
}

/**
 * The tests of lab 2D, snapshots: "every ten entries, over thirty rounds, while the log stays small".
 *
 * The labs' service hands Raft a snapshot of its state; here that is done by the checkpoints of a whole replica, so the
 * servers are those of the key-value labs, and a command is a write. What `one` of the labs waits for, that enough servers
 * have applied it, is seen by how far their state machines are; that they then hold the same state is an invariant.
 */
import { expect } from 'vitest';
import { assert } from '../../src/lib/assert.ts';
import type { Reply } from '../../src/resp/reply.ts';
import type { SimServer } from '../sim/cluster.ts';
import { ELECTION_TIMEOUT_MS } from './config.ts';
import { type KvConfig, kvLab } from './kv-config.ts';
import { checkLogBytes } from './snapshot-limits.ts';

const SNAPSHOT_INTERVAL = 10;
const ROUNDS = 30;
const SERVERS = 3;
/** So large that a dozen commands are more than the log keeps. */
const COMMAND_BYTES = 700;
const AGREES_WITHIN_MS = 10_000;
const HELD_MS = 1100;
/** Where a round trip takes long, an entry takes several commands, and ten of them are more. */
const SEGMENTS_MAX_UNRELIABLE = 20;

class Agreement {
  readonly #cfg: KvConfig;
  readonly #off = new Set<SimServer>();
  #count = 0;

  constructor(cfg: KvConfig) {
    this.#cfg = cfg;
  }

  get servers(): readonly SimServer[] {
    return this.#cfg.cluster.servers;
  }

  /** Proposed, and nothing is waited for. */
  start(server: SimServer, resolve: (reply: Reply) => void = () => {}): void {
    const value = `${this.#count}`.padEnd(COMMAND_BYTES, '.');
    const argv = ['SET', `k${this.#count++ % SNAPSHOT_INTERVAL}`, value].map((word) => Buffer.from(word));
    server.replica?.write(0, argv, { resolve });
  }

  /** A whole agreement among so many servers; the index up to which they have applied. */
  async one(servers: number): Promise<number> {
    const { cluster } = this.#cfg;
    await this.oneLeader();
    let index = 0;
    const leader = await this.oneLeader();
    this.start(leader, () => {
      index = leader.replica!.stateMachine.appliedIndex;
    });
    const applied = () => this.servers.filter(({ replica }) => reached(replica, index)).length;
    for (let waitedMs = 0; waitedMs < AGREES_WITHIN_MS; waitedMs += 20) {
      if (index > 0 && applied() >= servers) return index;
      await this.#cfg.sleep(20);
    }
    throw new Error(`no agreement of ${servers} servers at ${index}: ${cluster.servers.map(({ id }) => id)}`);
  }

  async oneLeader(): Promise<SimServer> {
    for (let waitedMs = 0; waitedMs < AGREES_WITHIN_MS; waitedMs += 50) {
      const leaders = this.servers.filter((server) => server.isLeader && !this.#off.has(server));
      const leader = leaders.find(({ replica }) => replica!.raft.leader!.hearsMajority());
      if (leader !== undefined) return leader;
      await this.#cfg.sleep(50);
    }
    throw new Error('there is no leader');
  }

  disconnect(server: SimServer): void {
    this.#off.add(server);
    const others = this.#cfg.cluster.ids.filter((id) => id !== server.id);
    this.#cfg.cluster.network.partition([server.id], others);
  }

  connect(server: SimServer): void {
    this.#off.delete(server);
    this.#cfg.cluster.network.mendAll();
  }
}

function reached(replica: SimServer['replica'], index: number): boolean {
  return replica !== undefined && replica.stateMachine.appliedIndex >= index;
}

interface Rounds {
  readonly disconnect?: boolean;
  readonly crash?: boolean;
  readonly unreliable?: boolean;
}

/** `snapcommon` of the labs. */
async function snapshotRounds(cfg: KvConfig, { disconnect, crash, unreliable }: Rounds): Promise<void> {
  const agreement = new Agreement(cfg);
  await agreement.one(SERVERS);
  let leader = await agreement.oneLeader();
  for (let round = 0; round < ROUNDS; round++) {
    const follower = agreement.servers.find((server) => server !== leader)!;
    const [victim, sender] = round % 3 === 1 ? [leader, follower] : [follower, leader];
    // For who has just been sent a snapshot the log is kept a little longer.
    if (disconnect || crash) await cfg.sleep(HELD_MS);
    if (disconnect) agreement.disconnect(victim);
    if (crash) victim.crash();
    if (disconnect || crash) await agreement.one(SERVERS - 1);
    // "Perhaps send enough to get a snapshot."
    for (let i = 0; i < SNAPSHOT_INTERVAL + 1; i++) {
      agreement.start(sender);
      // What is proposed in one moment is one entry, and here each should be one of its own.
      await cfg.sleep(3);
    }
    await agreement.one(disconnect || crash ? SERVERS - 1 : SERVERS);
    checkLogBytes(cfg.cluster, unreliable ? SEGMENTS_MAX_UNRELIABLE : undefined);
    if (disconnect) agreement.connect(victim);
    if (crash) victim.start();
    // "Perhaps the follower is behind and needs to receive a snapshot to catch up."
    if (disconnect || crash) await agreement.one(SERVERS);
    leader = await agreement.oneLeader();
  }
  const { installs } = cfg.invariants.counts;
  if (disconnect || crash) expect(installs, 'snapshots installed').toBeGreaterThan(0);
  else expect(installs, 'nobody lags, so nobody is sent a snapshot').toBe(0);
}

function snapshotLab(title: string, rounds: Rounds): void {
  const options = { servers: SERVERS, snapshots: true, unreliable: rounds.unreliable === true };
  kvLab(title, options, (cfg) => snapshotRounds(cfg, rounds));
}

snapshotLab('TestSnapshotBasic2D: the log is cut, and nobody notices', {});
snapshotLab('TestSnapshotInstall2D: who was cut off catches up by a snapshot', { disconnect: true });
snapshotLab('TestSnapshotInstallUnreliable2D: the same over a bad network', {
  disconnect: true,
  unreliable: true,
});
snapshotLab('TestSnapshotInstallCrash2D: who was down catches up by a snapshot', { crash: true });
snapshotLab('TestSnapshotInstallUnCrash2D: the same over a bad network', { crash: true, unreliable: true });

async function restartAll(cfg: KvConfig): Promise<void> {
  for (const server of cfg.cluster.servers) server.crash();
  cfg.cluster.startAll();
  await cfg.sleep(ELECTION_TIMEOUT_MS);
}

kvLab(
  'TestSnapshotAllCrash2D: all crash at once, and the index never goes back',
  { servers: SERVERS, snapshots: true, seeds: 4 },
  async (cfg) => {
    const agreement = new Agreement(cfg);
    await agreement.one(SERVERS);
    for (let round = 0; round < 5; round++) {
      const count = SNAPSHOT_INTERVAL / 2 + cfg.random.below(SNAPSHOT_INTERVAL);
      for (let i = 0; i < count; i++) await agreement.one(SERVERS);
      const before = await agreement.one(SERVERS);
      await restartAll(cfg);
      const after = await agreement.one(SERVERS);
      assert(after > before, 'the index grows', after, before);
    }
  },
);

kvLab(
  'TestSnapshotInit2D: a second crash right behind the first snapshot loses nothing',
  { servers: SERVERS, snapshots: true, seeds: 4 },
  async (cfg) => {
    const agreement = new Agreement(cfg);
    for (let i = 0; i < SNAPSHOT_INTERVAL + 2; i++) await agreement.one(SERVERS);
    await restartAll(cfg);
    // "A single op, to get something to be written back to persistent storage."
    await agreement.one(SERVERS);
    await restartAll(cfg);
    await agreement.one(SERVERS);
  },
);

/** Whole servers that come and go: the operator's view of §6. The rules themselves are tested in test/raft. */
import { expect, test } from 'vitest';
import { ErrorReply } from '../../src/resp/reply.ts';
import { Operator } from './operator.ts';
import { holdNothing } from './planted-snapshot-bugs.ts';

const ELECTION_TIMEOUT_MS = 300;
const LIMITS = { electionTimeoutMs: ELECTION_TIMEOUT_MS, heartbeatIntervalMs: 30 };
const SEEDS = [1, 2, 3, 4, 5];

test('a cluster grows from one server to five and shrinks to one, and keeps every key', async () => {
  for (const seed of SEEDS) {
    const operator = new Operator({ seed, servers: 1, limits: LIMITS });
    const { cluster } = operator;
    await operator.write(10);
    for (let servers = 2; servers <= 5; servers++) {
      await operator.letIn();
      await operator.write(5);
    }
    await operator.expectAllThere();
    while (cluster.servers.length > 1) {
      // The leader goes first, every other time.
      const leader = await operator.leader();
      const follower = cluster.servers.find((server) => server !== leader)!;
      const leaving = cluster.servers.length % 2 === 1 ? leader : follower;
      await operator.changed({ type: 'remove', id: leaving.id });
      cluster.retire(leaving);
      await operator.write(5);
    }
    await operator.expectAllThere();
    expect(operator.invariants.configurations.last.configuration.removed.length).toBe(4);
  }
});

test('a removed server that runs on disturbs nobody, and answers nothing', async () => {
  for (const seed of SEEDS) {
    for (const links of ['packets', 'streams'] as const) {
      const operator = new Operator({ seed, servers: 3, limits: LIMITS, commandTimeoutMs: 1000, links });
      const { cluster } = operator;
      await operator.write(5);
      const removed = seed % 2 === 0 ? await operator.leader() : await operator.follower();
      await operator.changed({ type: 'remove', id: removed.id });
      await cluster.run(4 * ELECTION_TIMEOUT_MS);
      const { term } = (await operator.leader()).replica!.raft;
      for (let i = 0; i < 10; i++) {
        await operator.write(1);
        await cluster.run(2 * ELECTION_TIMEOUT_MS);
      }
      expect((await operator.leader()).replica!.raft.term, 'terms do not grow').toBe(term);
      expect(removed.isLeader).toBe(false);
      expect(await operator.ask(removed, ['GET', 'key0'])).toBeInstanceOf(ErrorReply);
    }
  }
});

test('of two changes at once one waits for the other, or is refused', async () => {
  for (const seed of SEEDS) {
    const operator = new Operator({ seed, servers: 5, limits: LIMITS });
    const leader = await operator.leader();
    const [first, second] = operator.cluster.servers.filter((server) => server !== leader);
    const asked = [first!, second!].map((server) =>
      operator.change({ type: 'remove', id: server.id }, server),
    );
    await operator.cluster.until(() => asked.every(({ outcome }) => outcome !== undefined), 20_000);
    const outcomes = asked.map(({ outcome }) => outcome).sort();
    // Who is removed may not hear of it any more.
    expect(['done', 'no-majority', 'pending']).toContain(outcomes[0]);
    const { configuration } = operator.invariants.configurations.last;
    expect(configuration.voters.length).toBeLessThanOrEqual(4);
    await operator.write(3);
  }
});

const SMALL_LOG = {
  ...{ walSegmentBytes: 4 << 10, walKeepBytes: 8 << 10, limits: LIMITS },
  checkpoints: { dirtyBytesMax: 1 << 20, entriesMax: 10, intervalMs: 1000 },
};

/** The state is three chunks, of which one leaves a second. */
const SLOW = { ...SMALL_LOG, snapshotBytesPerSecond: 256 << 10 };
const LARGE_BYTES = 100 << 10;

/** How many snapshots it takes to let a server in while others write. */
async function installsOfJoining(seed: number): Promise<number> {
  const operator = new Operator({ seed, servers: 3, ...SLOW });
  await operator.write(7, LARGE_BYTES);
  await operator.cluster.run(2000);
  const joined = operator.letIn();
  await operator.write(60);
  await joined;
  return operator.invariants.counts.installs;
}

test('what is written while a snapshot is sent is kept for its receiver: it needs no second one', async () => {
  for (const seed of SEEDS) expect(await installsOfJoining(seed)).toBe(1);
});

test('a server that compacts past the snapshot that it is sending is found by that', async () => {
  const takeOut = holdNothing();
  try {
    expect(await installsOfJoining(1)).toBeGreaterThan(1);
  } finally {
    takeOut();
  }
});

test('the transfer of a snapshot waits for room on the disk, and is gone on with', async () => {
  for (const seed of SEEDS) {
    const operator = new Operator({ seed, servers: 3, ...SLOW });
    const { cluster, invariants } = operator;
    let resumed = 0;
    cluster.onLog = (_server, _event, fields) => {
      if (fields !== undefined && 'resumed' in fields && fields.resumed === true) resumed++;
    };
    await operator.write(7, LARGE_BYTES);
    const newcomer = cluster.newcomer();
    newcomer.start();
    await operator.changed({ type: 'add', id: newcomer.id, description: 'n4' });
    // With the second chunk there the first is durable.
    const receives = () => (newcomer.replica?.snapshots.received?.receivedBytes ?? 0) > 256 << 10;
    expect(await cluster.until(receives, 20_000), 'a part has come').toBe(true);
    newcomer.disk.faults.full = true;
    await cluster.run(4000);
    expect(invariants.counts.installs).toBe(0);
    newcomer.disk.faults.full = false;
    expect(await cluster.until(() => invariants.counts.installs === 1, 20_000), 'it is installed').toBe(true);
    expect(resumed).toBeGreaterThan(0);
    await operator.write(1);
  }
});

test('a follower that has the snapshot, when the leader did not hear of it and its log has gone on, gets a newer one', async () => {
  for (const seed of SEEDS) {
    const options = { ...SMALL_LOG, walKeepBytes: 4 << 10 };
    const operator = new Operator({ seed, servers: 3, ...options });
    const { cluster } = operator;
    const leader = await operator.leader();
    const away = await operator.follower();
    const others = cluster.ids.filter((id) => id !== away.id);
    cluster.network.partition([away.id], others);
    await operator.write(60);
    let installs = 0;
    cluster.onLog = (server, event) => {
      if (server !== away || event !== 'took over a snapshot' || installs++ > 0) return;
      cluster.simStreams.breakAll(away.id);
      cluster.network.partition([away.id], others);
    };
    cluster.network.mendAll();
    expect(await cluster.until(() => installs > 0, 20_000), 'a first one is installed').toBe(true);
    // More than the log is let grow to for somebody who is being sent a snapshot.
    await operator.write(600);
    cluster.network.mendAll();
    const caughtUp = () =>
      away.replica!.stateMachine.appliedIndex === leader.replica!.stateMachine.appliedIndex;
    expect(await cluster.until(caughtUp, 20_000), 'it catches up').toBe(true);
    expect(installs).toBeGreaterThan(1);
  }
});

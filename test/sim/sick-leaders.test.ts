/**
 * Leaders that are neither dead nor well. Each is replaced within three election timeouts, clients of the other servers are
 * served, and nobody is told anything that is not so: the history of clients on all servers, the sick one too, is
 * linearizable.
 */
import { expect, test } from 'vitest';
import { assert } from '../../src/lib/assert.ts';
import type { Reply } from '../../src/resp/reply.ts';
import { call, outcomeOf, type Request, textOf } from './calls.ts';
import { SimClient } from './clients.ts';
import { Cluster, type SimServer } from './cluster.ts';
import { Invariants } from './invariants.ts';
import { type KeyOp, keyModel } from './kv-models.ts';
import { checkLinearizable, type Operation } from './linearizability.ts';

const ELECTION_TIMEOUT_MS = 300;
const REPLACED_WITHIN_MS = 3 * ELECTION_TIMEOUT_MS;
const SEEDS = 12;
const SICK_FOR_MS = 3000;
const WORKLOAD = {
  ...{ keys: 3, operationsPerClient: 60, pauseMeanMs: 80, pipelineMax: 2, multiKey: false },
};

/** A cluster with a leader that has committed something, and clients on all servers. */
class SickWorld {
  readonly cluster: Cluster;
  readonly #clients: readonly SimClient[];

  constructor(seed: number) {
    const servers = seed % 2 === 0 ? 3 : 5;
    const limits = { electionTimeoutMs: ELECTION_TIMEOUT_MS, heartbeatIntervalMs: 30 };
    this.cluster = new Cluster({ seed, servers, limits, commandTimeoutMs: 2000 });
    const invariants = new Invariants(this.cluster);
    this.cluster.onSend = (from, _to, message) => invariants.onSend(from, message);
    this.cluster.scheduler.afterEvent = () => invariants.check();
    this.cluster.startAll();
    this.#clients = Array.from({ length: 6 }, (_, i) => new SimClient(this.cluster, i, WORKLOAD));
  }

  async leader(): Promise<SimServer> {
    const { cluster } = this;
    const leads = () => cluster.leader()?.replica?.raft.leader?.commitIsCurrent === true;
    expect(await cluster.until(leads, 20_000)).toBe(true);
    await cluster.run(cluster.random.between(300, 1000));
    return cluster.leader()!;
  }

  async ask(server: SimServer, argv: readonly string[]): Promise<Reply | undefined> {
    let reply: Reply | undefined;
    let settled = false;
    const request: Request = { kind: 'command', argv };
    call(this.cluster, server, request, (answer) => {
      reply = answer;
      settled = true;
    });
    await this.cluster.until(() => settled, 10_000);
    return reply;
  }

  /** Another server leads, and may commit. */
  async expectReplaced(sick: SimServer): Promise<void> {
    const { cluster } = this;
    const replaced = () =>
      cluster.servers.some(
        (server) => server !== sick && server.replica?.raft.leader?.commitIsCurrent === true,
      );
    expect(await cluster.until(replaced, REPLACED_WITHIN_MS), 'the leader is replaced').toBe(true);
    for (const server of cluster.servers) {
      if (server !== sick) expect(await this.ask(server, ['SET', 'served', `${server.id}`])).toBe('OK');
    }
  }

  async expectHistoryGood(): Promise<void> {
    const done = () => this.#clients.every((client) => client.done);
    assert(await this.cluster.until(done, 60_000), 'every client is served');
    const history = this.#clients.flatMap((client) => client.history) as Operation<KeyOp>[];
    const telling = history.filter(({ op }) => op.reply !== undefined || op.name !== 'GET');
    const { outcome, description } = checkLinearizable(keyModel, telling);
    expect(outcome, description).toBe('ok');
  }
}

function sickTest(
  title: string,
  sicken: (cluster: Cluster, leader: SimServer, others: readonly number[]) => () => void,
): void {
  test(title, { timeout: 60_000 }, async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const world = new SickWorld(seed);
      const leader = await world.leader();
      const others = world.cluster.ids.filter((id) => id !== leader.id);
      const cure = sicken(world.cluster, leader, others);
      await world.expectReplaced(leader);
      await world.cluster.run(SICK_FOR_MS);
      cure();
      await world.expectHistoryGood();
    }
  });
}

sickTest('a leader whose disk hangs is replaced', (_cluster, { disk }) => {
  disk.faults.stallMs = 60_000;
  return () => {
    disk.faults.stallMs = 0;
  };
});

sickTest('a leader that is stopped, as by SIGSTOP, is replaced', ({ scheduler }, { life }) => {
  life!.paused = true;
  return () => scheduler.resume(life!);
});

sickTest('a leader that is heard and hears nobody is replaced', ({ network }, { id }, others) => {
  for (const other of others) network.cut(other, id);
  return () => network.mendAll();
});

sickTest('a leader that hears and is not heard is replaced', ({ network }, { id }, others) => {
  for (const other of others) network.cut(id, other);
  return () => network.mendAll();
});

test('a leader that wakes up after an election answers no read from its old state', async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const world = new SickWorld(seed);
    const { cluster } = world;
    const sleeper = await world.leader();
    expect(await world.ask(sleeper, ['SET', 'k', 'old'])).toBe('OK');
    const life = sleeper.life!;
    life.paused = true;
    // For half of them nothing of what has happened is waiting when they wake up.
    const others = cluster.ids.filter((id) => id !== sleeper.id);
    if (seed % 4 < 2) cluster.network.partition([sleeper.id], others);
    await world.expectReplaced(sleeper);
    const another = cluster.servers.find((server) => server !== sleeper)!;
    expect(await world.ask(another, ['SET', 'k', 'new'])).toBe('OK');
    // What its clients have sent meanwhile is read before anything that the other servers have sent, and behind it.
    const replies: (Reply | undefined)[] = [];
    const ask = () =>
      call(cluster, sleeper, { kind: 'command', argv: ['GET', 'k'] }, (reply) => replies.push(reply));
    life.held.unshift(ask);
    life.held.push(ask);
    cluster.scheduler.resume(life);
    await cluster.run(ELECTION_TIMEOUT_MS);
    cluster.network.mendAll();
    await cluster.until(() => replies.length === 2, 10_000);
    for (const reply of replies) {
      expect(outcomeOf(reply)).toBe('replied');
      expect(textOf(reply!)).toBe('new');
    }
  }
});

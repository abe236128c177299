/**
 * Views of the keys in a whole cluster, under load.
 */
import { expect, test } from 'vitest';
import type { Reply } from '../../src/resp/reply.ts';
import { call } from '../sim/calls.ts';
import { Cluster, type ClusterOptions, type SimServer } from '../sim/cluster.ts';
import { digestOf } from '../sim/view-readers.ts';

const LATER_MS = 20_000;

/** A cluster with a leader, and clients that write until they are told to end. */
async function loaded(options: Partial<ClusterOptions> = {}): Promise<{ cluster: Cluster; end: () => void }> {
  const cluster = new Cluster({ seed: 7, servers: 3, ...options });
  cluster.startAll();
  expect(await cluster.until(() => cluster.leader() !== undefined, LATER_MS)).toBe(true);
  let ended = false;
  const write = (i: number): void => {
    if (ended) return;
    const argv = i % 5 === 0 ? ['DEL', `k${i % 40}`] : ['APPEND', `k${i % 40}`, `${i};`];
    call(cluster, cluster.server((i % 3) + 1), { kind: 'command', argv }, () => {
      cluster.scheduler.after(2, undefined, () => write(i + 7));
    });
  };
  for (let i = 0; i < 7; i++) write(i);
  await cluster.run(1000);
  return {
    cluster,
    end: () => {
      ended = true;
    },
  };
}

async function freeze(cluster: Cluster, server: SimServer, id: string): Promise<true | Reply> {
  let reply: true | Reply | undefined;
  server.replica!.views.freeze(id, (answer) => {
    reply = answer;
  });
  expect(await cluster.until(() => reply !== undefined, LATER_MS)).toBe(true);
  return reply!;
}

function having(cluster: Cluster, id: string): number[] {
  return cluster.servers
    .filter(({ replica }) => replica?.views.view(id) !== undefined)
    .map((each) => each.id);
}

/** What the view of each server shows. */
async function digests(cluster: Cluster, id: string): Promise<(string | undefined)[]> {
  const shown: (string | undefined)[] = [];
  for (const { replica } of cluster.servers) {
    const before = shown.length;
    digestOf(replica!.views.view(id)!, (digest) => shown.push(digest));
    expect(await cluster.until(() => shown.length > before, LATER_MS)).toBe(true);
  }
  return shown;
}

test('every server makes a view at the same index and with the same content, whoever was asked for it', async () => {
  const { cluster, end } = await loaded();
  for (const server of cluster.servers) {
    const id = `of ${server.id}`;
    expect(await freeze(cluster, server, id)).toBe(true);
    expect(await cluster.until(() => having(cluster, id).length === 3, LATER_MS)).toBe(true);
  }
  // The clients have gone on meanwhile, and go on.
  for (const { id } of cluster.servers) {
    const views = cluster.servers.map(({ replica }) => replica!.views.view(`of ${id}`)!);
    expect(new Set(views.map(({ index }) => index)).size).toBe(1);
    expect(new Set(views.map((view) => view.sizeOf(0))).size).toBe(1);
    const shown = await digests(cluster, `of ${id}`);
    expect([shown.length, new Set(shown).size, shown[0]]).toEqual([3, 1, expect.any(String)]);
  }
  const [first, , third] = await Promise.all(cluster.servers.map(({ id }) => digests(cluster, `of ${id}`)));
  expect(first![0]).not.toBe(third![0]);
  end();
});

test('a restart loses the views of a server, and of no other; it makes the next one again', async () => {
  const { cluster, end } = await loaded();
  expect(await freeze(cluster, cluster.server(1), 'v')).toBe(true);
  expect(await cluster.until(() => having(cluster, 'v').length === 3, LATER_MS)).toBe(true);
  const fallen = cluster.server(2);
  fallen.crash();
  await cluster.run(500);
  fallen.start();
  expect(await cluster.until(() => fallen.replica !== undefined, LATER_MS)).toBe(true);
  await cluster.run(2000);
  expect(having(cluster, 'v')).toEqual([1, 3]);
  expect(await freeze(cluster, fallen, 'w')).toBe(true);
  expect(await cluster.until(() => having(cluster, 'w').length === 3, LATER_MS)).toBe(true);
  expect(new Set(await digests(cluster, 'w')).size).toBe(1);
  end();
});

test('a server that was down when a view was made catches up, and has it while the log still tells of it', async () => {
  const { cluster, end } = await loaded({ walKeepBytes: 64 << 20 });
  const away = cluster.servers.find((server) => !server.isLeader)!;
  away.crash();
  const up = cluster.servers.filter((server) => server !== away);
  expect(await freeze(cluster, up[0]!, 'v')).toBe(true);
  await cluster.run(500);
  expect(having(cluster, 'v')).toEqual(up.map(({ id }) => id));
  away.start();
  expect(await cluster.until(() => having(cluster, 'v').length === 3, LATER_MS)).toBe(true);
  expect(new Set(await digests(cluster, 'v')).size).toBe(1);
  end();
});

test('a server that is sent a snapshot of a later state has none of the views before it', async () => {
  const checkpoints = { dirtyBytesMax: 1 << 20, entriesMax: 10, intervalMs: 300 };
  const { cluster, end } = await loaded({ walSegmentBytes: 4 << 10, walKeepBytes: 4 << 10, checkpoints });
  const away = cluster.servers.find((server) => !server.isLeader)!;
  // A view of the state that the snapshot takes the place of.
  expect(await freeze(cluster, away, 'before')).toBe(true);
  expect(await cluster.until(() => having(cluster, 'before').length === 3, LATER_MS)).toBe(true);
  const view = away.replica!.views.view('before')!;
  cluster.network.partition(
    [away.id],
    cluster.ids.filter((id) => id !== away.id),
  );
  expect(await freeze(cluster, cluster.leader()!, 'v')).toBe(true);
  await cluster.run(5000);
  const before = away.replica!.stateMachine;
  cluster.network.mendAll();
  expect(await cluster.until(() => away.replica!.stateMachine !== before, LATER_MS)).toBe(true);
  await cluster.run(1000);
  expect(away.replica!.views.views).toEqual([]);
  expect(having(cluster, 'v')).toEqual(cluster.ids.filter((id) => id !== away.id));
  const ended: (string | undefined)[] = [];
  digestOf(view, (digest) => ended.push(digest));
  await cluster.run(100);
  expect(ended).toEqual([undefined]);
  end();
});

test('a server without room on its disk makes no view, and makes the next one when there is room', async () => {
  const { cluster, end } = await loaded();
  const full = cluster.servers.find((server) => !server.isLeader)!;
  full.disk.faults.full = true;
  expect(await freeze(cluster, cluster.leader()!, 'v')).toBe(true);
  await cluster.run(1000);
  expect(having(cluster, 'v')).toEqual(cluster.ids.filter((id) => id !== full.id));
  full.disk.faults.full = false;
  await cluster.run(2000);
  expect(await freeze(cluster, full, 'w')).toBe(true);
  expect(await cluster.until(() => having(cluster, 'w').length === 3, LATER_MS)).toBe(true);
  expect(new Set(await digests(cluster, 'w')).size).toBe(1);
  end();
});

test('a store that is slow for longer than a cut waits costs the view, and the log goes on', async () => {
  const { cluster, end } = await loaded();
  const slow = cluster.servers.find((server) => !server.isLeader)!;
  slow.store.faults.stallMs = 15_000;
  slow.replica!.requestCheckpoint();
  await cluster.run(100);
  expect(await freeze(cluster, cluster.leader()!, 'v')).toBe(true);
  await cluster.run(1000);
  const { stateMachine } = slow.replica!;
  const heldAt = stateMachine.appliedIndex;
  await cluster.run(5000);
  expect(stateMachine.appliedIndex).toBe(heldAt);
  await cluster.run(10_000);
  expect(stateMachine.appliedIndex).toBeGreaterThan(heldAt + 100);
  expect(having(cluster, 'v')).toEqual(cluster.ids.filter((id) => id !== slow.id));
  end();
});

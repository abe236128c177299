/** The tests of the key-value labs with snapshots: lab 3B of 2017, and the linearizable variants of later years. */
import { expect } from 'vitest';
import { SnapshotReader } from '../../src/kv/snapshot-reader.ts';
import { GROUP } from '../sim/cluster.ts';
import { ELECTION_TIMEOUT_MS } from './config.ts';
import { genericLab, type KvConfig, kvLab } from './kv-config.ts';
import { checkLogBytes } from './snapshot-limits.ts';

/** So large that fifty of them fill the log many times over. */
const large = (value: number) => `${value}`.padEnd(500, '.');

kvLab(
  'TestSnapshotRPC3B: a server that has missed more than the log has catches up by a snapshot',
  { servers: 3, snapshots: true, seeds: 4 },
  async (cfg) => {
    const { network } = cfg.cluster;
    const ck = cfg.clerk();
    await ck.put('a', 'A');
    expect(await ck.get('a')).toBe('A');

    network.partition([1, 2], [3]);
    const inMajority = cfg.clerk([1, 2]);
    for (let i = 0; i < 50; i++) await inMajority.put(`${i}`, large(i));
    await cfg.sleep(ELECTION_TIMEOUT_MS);
    await inMajority.put('b', 'B');
    checkLogBytes(cfg.cluster);

    network.partition([1, 3], [2]);
    const withLagging = cfg.clerk([1, 3]);
    await withLagging.put('c', 'C');
    await withLagging.put('d', 'D');
    for (const [key, value] of [
      ['a', 'A'],
      ['b', 'B'],
      ['1', large(1)],
      ['49', large(49)],
    ]) {
      expect(await withLagging.get(key!)).toBe(value);
    }
    expect(cfg.invariants.counts.installs).toBeGreaterThan(0);

    network.mendAll();
    await ck.put('e', 'E');
    expect(await ck.get('c')).toBe('C');
    expect(await ck.get('e')).toBe('E');
    expect(await ck.get('1')).toBe(large(1));
  },
);

/** What the transfer of a snapshot brings besides the meta record, which has a row for each of 16 databases. */
function snapshotBytes(cfg: KvConfig, server: number): Promise<number> {
  const store = cfg.cluster.server(server).store.open({ alive: true, paused: false, held: [] });
  return new Promise((resolve, reject) => {
    SnapshotReader.open(store, GROUP, (error, reader) => {
      if (reader === undefined) return reject(error ?? new Error('there is no snapshot'));
      let bytes = 0;
      const next = () =>
        reader.next((failure, chunk) => {
          if (failure !== null) reject(failure);
          else if (chunk === undefined) resolve(bytes);
          else {
            bytes += chunk.length;
            next();
          }
        });
      next();
    });
  });
}

kvLab(
  'TestSnapshotSize3B: a snapshot is as small as the state, however many writes led to it',
  { servers: 3, snapshots: true },
  async (cfg) => {
    const ck = cfg.clerk();
    for (let i = 0; i < 200; i++) {
      for (const value of ['0', '1']) {
        await ck.put('x', value);
        expect(await ck.get('x')).toBe(value);
      }
    }
    checkLogBytes(cfg.cluster);
    for (const id of cfg.cluster.ids) expect(await snapshotBytes(cfg, id)).toBeLessThanOrEqual(500);
  },
);

genericLab('TestSnapshotRecover3B: restarts, snapshots, one client', {
  ...{ servers: 5, clients: 1, crash: true, snapshots: true },
});
genericLab('TestSnapshotRecoverManyClients3B: restarts, snapshots, many clients', {
  ...{ servers: 5, clients: 20, crash: true, snapshots: true, seeds: 1 },
});
genericLab('TestSnapshotUnreliable3B: unreliable net, snapshots, many clients', {
  ...{ servers: 5, clients: 5, unreliable: true, snapshots: true },
});
genericLab('TestSnapshotUnreliableRecover3B: unreliable net, restarts, snapshots, many clients', {
  ...{ servers: 5, clients: 5, unreliable: true, crash: true, snapshots: true },
});
genericLab(
  'TestSnapshotUnreliableRecoverConcurrentPartition3B: unreliable net, restarts, partitions, snapshots, many clients',
  {
    ...{ servers: 5, clients: 5, unreliable: true, crash: true },
    ...{ partitions: true, snapshots: true },
  },
);
genericLab(
  'TestSnapshotUnreliableRecoverConcurrentPartitionLinearizable3B: the same with random keys, 15 clients and 7 servers',
  {
    ...{ servers: 7, clients: 15, unreliable: true, crash: true },
    ...{ partitions: true, snapshots: true, randomKeys: true },
  },
);
genericLab('TestSnapshotUnreliableRecoverConcurrentPartition3B, with clerks that send again', {
  ...{ servers: 5, clients: 5, unreliable: true, crash: true },
  ...{ partitions: true, snapshots: true, sessions: true },
});

/**
 * A server that comes back without its disk, under the identity that it had. It has forgotten what it acknowledged, so it
 * must not serve as a voter; and it must not take the others down.
 */
import { expect, test } from 'vitest';
import { CorruptionError } from '../../src/lib/errors.ts';
import { Cluster } from './cluster.ts';

const SMALL = { dirtyBytesMax: 1 << 20, entriesMax: 10, intervalMs: 300 };

test('a server whose disk is lost stops with an error, and the others go on, however new their leader', async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const cluster = new Cluster({ seed, servers: 3, checkpoints: SMALL, walSegmentBytes: 8 << 10 });
    const write = async (count: number) => {
      for (let i = 0; i < count; i++) {
        let answered = false;
        const server = cluster.leader() ?? cluster.server(1);
        const argv = ['SET', `key${i}`, 'v'.repeat(200)].map((arg) => Buffer.from(arg));
        server.replica!.write(0, argv, {
          resolve: () => {
            answered = true;
          },
        });
        await cluster.until(() => answered, 10_000);
      }
    };
    cluster.startAll();
    await cluster.until(() => cluster.leader() !== undefined, 10_000);
    await write(100);
    await cluster.run(2000);
    expect(cluster.server(1).replica!.raft.log.compactedIndex).toBeGreaterThan(0);
    for (const server of cluster.servers) server.crash();
    const lost = cluster.server(3);
    lost.loseDisk();
    for (const id of [1, 2]) cluster.server(id).start();
    await cluster.until(() => cluster.leader() !== undefined, 20_000);
    lost.start();
    await cluster.until(() => lost.fatal !== undefined, 10_000);
    expect(lost.fatal).toBeInstanceOf(CorruptionError);
    await write(20);
    for (const id of [1, 2]) {
      expect(cluster.server(id).fatal).toBeUndefined();
      expect(cluster.server(id).up).toBe(true);
    }
  }
});

/**
 * A server that comes back without its disk, under the identity that it had. It has forgotten what it acknowledged, so it
 * must not serve as a voter; and it must not take the others down. (That an empty directory is refused at the start is for
 * test/server/data-directory.test.ts; here the identity that would say so is gone too.)
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
    // What all have acknowledged, followers know too, so the next leader does.
    const leader = cluster.leader()!;
    const lost = cluster.servers.find((server) => server !== leader)!;
    lost.crash();
    lost.loseDisk();
    leader.replica!.giveUpLeadership();
    await cluster.until(() => cluster.leader() !== undefined && cluster.leader() !== leader, 20_000);
    lost.start();
    await cluster.until(() => lost.fatal !== undefined, 10_000);
    expect(lost.fatal).toBeInstanceOf(CorruptionError);
    await write(20);
    for (const server of cluster.servers.filter((each) => each !== lost)) {
      expect(server.fatal).toBeUndefined();
      expect(server.up).toBe(true);
    }
  }
});

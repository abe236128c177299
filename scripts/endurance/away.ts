/** A follower that was away while much was written comes back by a snapshot: how long, and what memory it takes of whom. */
import { load, MB, megabytes, pause, type Server, startCluster } from './servers.ts';

const VALUE_BYTES = 32 * 1024;

export async function away(bytes: number, port: number, flags: readonly string[]): Promise<void> {
  const cluster = await startCluster(3, port, flags);
  const leader = await cluster.leader();
  const follower = cluster.servers.find((server) => server !== leader)!;
  await follower.end('SIGKILL');
  const writes = Math.ceil(bytes / VALUE_BYTES);
  console.log(`${follower.name} is away; ${writes} writes of ${VALUE_BYTES / 1024} KiB`);
  const write = (requests: number) =>
    load(leader.port, { requests, keys: 1_000_000, valueBytes: VALUE_BYTES, pipeline: 4 });
  const before = await write(writes);
  console.log(
    `written: ${((before * VALUE_BYTES) / MB).toFixed(0)} MB/s; ${leader.name} has ${shown(leader.memory)}`,
  );
  await pause(12_000);
  const idle = await load(leader.port, { requests: 200_000, keys: 1000, valueBytes: 100, pipeline: 16 });
  const goal = Number((await leader.info()).raft_commit_index);
  const beganMs = Date.now();
  follower.start();
  await pause(500);
  const during = load(leader.port, { requests: 200_000, keys: 1000, valueBytes: 100, pipeline: 16 });
  const [leaderMost, followerMost] = [new Most(), new Most()];
  for (;;) {
    leaderMost.take(leader.memory);
    followerMost.take(follower.memory);
    const { raft_applied_index } = await infoOf(follower);
    if (Number(raft_applied_index ?? 0) >= goal) break;
    await pause(200);
  }
  const seconds = (Date.now() - beganMs) / 1000;
  const { wal, store } = follower.directoryBytes;
  console.log(
    `${follower.name} has caught up after ${seconds.toFixed(1)} s; log ${megabytes(wal)}, store ${megabytes(store)}`,
  );
  console.log(
    `most memory meanwhile: ${leader.name} (sends) ${shown(leaderMost)}; ${follower.name} (receives) ${shown(followerMost)}`,
  );
  console.log(
    `SETs per second: ${Math.round(idle)} without, ${Math.round(await during)} while the snapshot was sent (all servers share this machine)`,
  );
  await pause(3000);
  const hashes = new Set<string>();
  for (const server of cluster.servers) {
    const { raft_applied_index, raft_state_hash } = await server.info();
    hashes.add(`${raft_applied_index} ${raft_state_hash}`);
  }
  console.log(
    hashes.size === 1 ? 'all three servers have the same state' : `STATES DIFFER: ${[...hashes].join(' | ')}`,
  );
  await cluster.end();
  if (hashes.size !== 1) process.exitCode = 1;
}

class Most {
  ownMb = 0;
  mappedMb = 0;

  take({ ownMb, mappedMb }: { ownMb: number; mappedMb: number }): void {
    this.ownMb = Math.max(this.ownMb, ownMb);
    this.mappedMb = Math.max(this.mappedMb, mappedMb);
  }
}

function shown({ ownMb, mappedMb }: { ownMb: number; mappedMb: number }): string {
  return `${ownMb} MB of its own, ${mappedMb} MB of files mapped`;
}

async function infoOf(server: Server): Promise<Record<string, string>> {
  try {
    return await server.info();
  } catch {
    return {};
  }
}

/** The same keys written again and again: the data directory stays small, for as long as one likes. */
import { load, megabytes, pause, startCluster } from './servers.ts';

const KEYS = 1000;
const VALUE_BYTES = 100;

export async function overwrite(writes: number, port: number): Promise<void> {
  const cluster = await startCluster(3, port);
  console.log(
    `${writes} writes to ${KEYS} keys of ${VALUE_BYTES} bytes; live data ${megabytes(KEYS * (VALUE_BYTES + 16))}`,
  );
  let over = false;
  const perSecond = load((await cluster.leader()).port, {
    ...{ requests: writes, keys: KEYS, valueBytes: VALUE_BYTES, pipeline: 100 },
  }).finally(() => {
    over = true;
  });
  let mostBytes = 0;
  for (let seconds = 0; !over; seconds++) {
    const sizes = cluster.servers.map((server) => server.directoryBytes);
    mostBytes = Math.max(mostBytes, ...sizes.map(({ wal, store }) => wal + store));
    if (seconds % 10 === 0) {
      const shown = sizes.map(({ wal, store }) => `log ${megabytes(wal)} store ${megabytes(store)}`);
      console.log(`${`${seconds} s`.padStart(6)}  ${shown.join(' | ')}`);
    }
    await pause(1000);
  }
  console.log(
    `${Math.round(await perSecond)} SETs per second; the largest data directory was ${megabytes(mostBytes)}`,
  );
  for (const server of cluster.servers) {
    const { raft_applied_index, raft_state_hash, raft_first_log_index } = await server.info();
    const { ownMb } = server.memory;
    console.log(
      `${server.name}: applied ${raft_applied_index}, state ${raft_state_hash}, log from ${raft_first_log_index}, memory ${ownMb} MB`,
    );
  }
  await cluster.end();
}

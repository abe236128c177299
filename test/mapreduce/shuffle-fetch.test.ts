/** A reduce task's input comes whole from wherever it lies, or the task is told what is lost. */
import { Buffer } from 'node:buffer';
import { describe, expect, test } from 'vitest';
import { BulkFileError } from '../../src/lib/bulk.ts';
import { FetchFailed } from '../../src/mapreduce/fetch-failed.ts';
import { encodeHello, encodeShuffleFrame } from '../../src/mapreduce/shuffle-format.ts';
import { SimRandom } from '../sim/random.ts';
import { bigPartition, JOB, KEY, rowsOf, SELF, ShuffleWorld } from './shuffle-world.ts';

/** `servers` with `maps` outputs each, of about `keys` * 40 bytes. */
async function worldOf(servers: number, maps: number, keys: number, seed = 1): Promise<ShuffleWorld> {
  const world = new ShuffleWorld(seed);
  for (let id = 1; id <= servers; id++) await world.start(id);
  for (let map = 0; map < maps * servers; map++) {
    world.put(1 + (map % servers), map, [bigPartition(keys, map), [], [['x', map + 1]]]);
  }
  return world;
}

async function failureOf(
  world: ShuffleWorld,
  fetch: ReturnType<ShuffleWorld['fetch']>,
): Promise<FetchFailed> {
  const error = await world.outcome(fetch.fetched).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof FetchFailed)) throw error ?? new Error('it was fetched');
  expect(world.files.paths.filter((path) => path.includes('.fetch-'))).toEqual([]);
  expect(world.connections).toBe(0);
  return error;
}

/** A map output with one byte changed, counted from its end if negative. */
function damage(world: ShuffleWorld, id: number, path: string, at: number): void {
  const bytes = Buffer.from(world.disk(id).content(path)!);
  bytes[at < 0 ? bytes.length + at : at]! ^= 1;
  world.disk(id).put(path, bytes);
}

describe('a fetch', () => {
  test('brings all slices of a partition, in the order of the map tasks', async () => {
    const world = await worldOf(3, 5, 300);
    world.put(SELF, 100, [[['own', 5]], [], [['x', 1000]]]);
    const fetch = world.fetch();
    const sources = await world.outcome(fetch.fetched);
    expect(rowsOf(world.files, sources)).toEqual(world.expected());
    expect(sources).toHaveLength(16);
    expect(sources[15]).toMatchObject({ path: `root/${JOB}/map-100-1001` });
    expect(sources[0]!.path).toBe('reduce-0-1.fetch-0');
    fetch.dispose();
    expect(world.files.paths).toEqual([`root/${JOB}/map-100-1001`]);
  });

  test('of empty and of tiny slices brings them', async () => {
    const world = await worldOf(2, 3, 1);
    expect(await world.rows(world.fetch({ partition: 1 }), 1)).toEqual([]);
    expect(await world.rows(world.fetch({ partition: 2, path: 'other' }), 2)).toEqual(['x 21']);
  });

  test('of more outputs than one request names asks again', async () => {
    const world = await worldOf(1, 1100, 1);
    expect(await world.rows(world.fetch({ partition: 2 }), 2)).toEqual([`x ${(1100 * 1101) / 2}`]);
    expect(world.connectionsMax).toBe(1);
  });

  test('of nothing, or of nothing remote, needs no network', async () => {
    const world = new ShuffleWorld();
    expect(await world.fetch().fetched).toEqual([]);
    world.put(SELF, 1, [[['own', 5]]]);
    expect(rowsOf(world.files, await world.fetch().fetched)).toEqual(['own 5']);
  });

  test('has connections to four servers at a time, one each', async () => {
    const world = await worldOf(7, 2, 500);
    expect(await world.rows(world.fetch())).toEqual(world.expected());
    expect(world.connectionsMax).toBe(4);
  });

  test('tells how many bytes have come', async () => {
    const world = await worldOf(1, 2, 4000);
    const told: number[] = [];
    const sources = await world.outcome(world.fetch({ onBytes: (bytes) => told.push(bytes) }).fetched);
    const bytes = sources.reduce((sum, source) => sum + ('slice' in source ? source.slice.bytes : 0), 0);
    expect(told.reduce((sum, more) => sum + more, 0)).toBe(bytes);
  });

  test('goes on behind the slices that were whole when the server comes back', async () => {
    const world = await worldOf(1, 10, 5000);
    let told = 0;
    const fetch = world.fetch({
      onBytes: (bytes) => {
        told += bytes;
      },
    });
    while (world.servers.get(1)!.server.servedBytes < 1_500_000) await world.run(0.5);
    world.kill(1);
    await world.run(400);
    await world.start(1);
    const sources = await world.outcome(fetch.fetched);
    expect(rowsOf(world.files, sources)).toEqual(world.expected());
    const sizes = sources.map((source) => ('slice' in source ? source.slice.bytes : 0));
    const whole = sizes.reduce((sum, bytes) => sum + bytes, 0);
    // One was torn and came a second time.
    expect(told).toBeGreaterThan(whole);
    expect(told).toBeLessThan(whole + Math.max(...sizes));
  });

  test('takes a server that falls silent for broken, and connects again', async () => {
    const world = await worldOf(1, 10, 2000);
    const fetch = world.fetch();
    while (!world.streams.halfOpen(SELF, 1)) await world.run(1);
    expect(await world.rows(fetch)).toEqual(world.expected());
    expect(world.scheduler.nowMs).toBeGreaterThan(5000);
    expect(world.scheduler.nowMs).toBeLessThan(7000);
  });

  test('gives a server up that is not there, after three tries', async () => {
    const world = await worldOf(2, 2, 10);
    world.kill(2);
    const { node, maps, message } = await failureOf(world, world.fetch());
    expect({ node, maps }).toEqual({ node: 2, maps: [] });
    expect(message).toBe('server 2 at n2:7000, tried 3 times: connect ECONNREFUSED');
    expect(world.scheduler.nowMs).toBeLessThan(3000);
  });

  test('gives a server up whose machine is gone within twenty seconds', async () => {
    const world = await worldOf(2, 2, 10);
    world.kill(1, 'power lost');
    const { node, maps, message } = await failureOf(world, world.fetch());
    expect({ node, maps }).toEqual({ node: 1, maps: [] });
    expect(message).toContain('it was silent for 5000 ms');
    expect(world.scheduler.nowMs).toBeLessThan(20_000);
  });

  test('from a server without an address fails', async () => {
    const world = await worldOf(1, 1, 1);
    const { node, maps } = await failureOf(world, world.fetch({ addresses: new Map() }));
    expect({ node, maps }).toEqual({ node: 1, maps: [] });
  });

  test('waits until a server that was started again knows the job', async () => {
    const world = await worldOf(1, 2, 10);
    world.kill(1);
    const { server } = await world.start(1, []);
    const fetch = world.fetch();
    await world.run(100);
    server.serve([[JOB, KEY]]);
    expect(await world.rows(fetch)).toEqual(world.expected());
  });

  test('of a job that the server does not know fails', async () => {
    const world = await worldOf(1, 2, 10);
    const { node, maps, message } = await failureOf(world, world.fetch({ job: 'job-8-1' }));
    expect({ node, maps }).toEqual({ node: 1, maps: [] });
    expect(message).toContain('it has no such job');
  });

  test('with a wrong key fails at once', async () => {
    const world = await worldOf(1, 2, 10);
    const { message } = await failureOf(world, world.fetch({ key: Buffer.alloc(32, 'w') }));
    expect(message).toBe('server 1 at n1:7000: it refused: wrong key');
    expect(world.scheduler.nowMs).toBeLessThan(100);
  });

  test('that is disposed of ends, and leaves nothing', async () => {
    const world = await worldOf(2, 3, 3000);
    const fetch = world.fetch();
    while (world.servers.get(1)!.server.servedBytes < 10_000) await world.run(0.2);
    fetch.dispose();
    await expect(fetch.fetched).rejects.toMatchObject({ code: 'CANCELLED' });
    await world.run(50);
    fetch.dispose();
    expect(world.files.paths).toEqual([]);
    expect(world.servers.get(1)!.server.connections).toBe(0);
  });

  test('onto a full disk fails with the error of the disk', async () => {
    const world = await worldOf(2, 3, 3000);
    world.files.roomBytes = 50_000;
    const fetch = world.fetch();
    await expect(world.outcome(fetch.fetched)).rejects.toBeInstanceOf(BulkFileError);
    expect(world.files.paths).toEqual([]);
  });
});

describe('a map output', () => {
  test('that is gone is told, and so are others of the same server', async () => {
    const world = await worldOf(2, 6, 10);
    for (const map of [3, 7]) world.disk(2).remove(`root/${JOB}/map-${map}-${map * 10 + 1}`);
    const { node, maps, message } = await failureOf(world, world.fetch());
    expect({ node, maps }).toEqual({ node: 2, maps: [3, 7] });
    expect(message).toBe('output of map tasks 3, 7 of server 2: missing');
  });

  test('with a damaged byte is fetched twice, and then told', async () => {
    const world = await worldOf(1, 3, 100);
    damage(world, 1, world.disk(1).paths[1]!, 500);
    const { node, maps, message } = await failureOf(world, world.fetch());
    expect({ node, maps }).toEqual({ node: 1, maps: [1] });
    expect(message).toBe('output of map task 1 of server 1: damaged or missing');
  });

  test('with a damaged index, or cut off, is told', async () => {
    for (const at of [-1, -24 - 70, -24 - 3 * 32]) {
      const world = await worldOf(1, 3, 100);
      damage(world, 1, world.disk(1).paths[2]!, at);
      expect(await failureOf(world, world.fetch()), `byte ${at}`).toMatchObject({ node: 1, maps: [2] });
    }
  });

  test('that ends while it is sent is told', async () => {
    const world = await worldOf(1, 3, 20_000);
    world.disk(1).fail = (path, position) =>
      path.includes('map-1-') && position > 300_000 && position < 700_000 ? 'ends' : undefined;
    expect(await failureOf(world, world.fetch())).toMatchObject({ node: 1, maps: [1] });
  });

  test('that the disk gives at the second attempt only is fetched', async () => {
    const world = await worldOf(1, 3, 20_000);
    let failures = 0;
    world.disk(1).fail = (path, position) =>
      path.includes('map-1-') && position > 300_000 && failures++ === 1 ? 'EIO' : undefined;
    expect(await world.rows(world.fetch())).toEqual(world.expected());
    expect(failures).toBeGreaterThan(1);
  });

  test('that the disk never gives is told after three tries', async () => {
    const world = await worldOf(1, 3, 10);
    world.disk(1).fail = (path) => (path.includes('map-1-') ? 'EIO' : undefined);
    const { maps, message } = await failureOf(world, world.fetch());
    expect(maps).toEqual([1]);
    expect(message).toContain('it could not read output of map task 1');
  });

  test('of this server that is gone or damaged is told before anything is fetched', async () => {
    const world = await worldOf(1, 3, 10);
    for (const map of [50, 51, 52]) world.put(SELF, map, [[['own', 1]], [], []]);
    world.files.remove(`root/${JOB}/map-50-501`);
    damage(world, SELF, `root/${JOB}/map-52-521`, -1);
    expect(await failureOf(world, world.fetch())).toMatchObject({ node: SELF, maps: [50, 52] });
    expect(world.connectionsMax).toBe(0);
  });

  test('of this server that is found damaged by the merge is blamed', async () => {
    const world = await worldOf(1, 1, 10);
    const path = world.put(SELF, 50, [[['own', 1]]]);
    damage(world, SELF, path, 10);
    const fetch = world.fetch();
    const sources = await world.outcome(fetch.fetched);
    let blamed: FetchFailed | undefined;
    try {
      rowsOf(world.files, sources);
    } catch (error) {
      blamed = fetch.blame(error);
    }
    expect(blamed).toMatchObject({ node: SELF, maps: [50] });
    expect(fetch.blame(new Error('of something else'))).toBeUndefined();
  });
});

test('a server that does not have the key of the job is not believed', async () => {
  const world = new ShuffleWorld();
  const life = { alive: true, paused: false, held: [] };
  await world.streams.open(1, life).listen(world.address(1), (connection) => {
    const onData = () => connection.write(encodeShuffleFrame('welcome', Buffer.alloc(32)));
    connection.handle({ onData, onClose: () => {} });
    connection.write(encodeHello(Buffer.alloc(16)));
  });
  world.put(1, 1, [[['x', 1]]]);
  const { node, maps, message } = await failureOf(world, world.fetch());
  expect({ node, maps }).toEqual({ node: 1, maps: [] });
  expect(message).toContain('it does not have the key of the job');
});

test('a server that answers nonsense is not believed, whatever it says', async () => {
  for (let seed = 0; seed < 30; seed++) {
    const world = new ShuffleWorld(seed);
    const life = { alive: true, paused: false, held: [] };
    const random = new SimRandom(seed);
    await world.streams.open(1, life).listen(world.address(1), (connection) => {
      connection.handle({ onData: () => {}, onClose: () => {} });
      if (seed % 2 === 0) connection.write(encodeHello(Buffer.alloc(16)));
      connection.write(random.bytes(1 + random.below(2000)));
    });
    world.put(1, 1, [[['x', 1]]]);
    expect(await failureOf(world, world.fetch()), `seed ${seed}`).toMatchObject({ node: 1, maps: [] });
  }
});

test('whatever breaks, a fetch brings the right bytes or says who could not give them', async () => {
  let brought = 0;
  for (let seed = 1; seed <= 25; seed++) {
    const random = new SimRandom(seed);
    const world = await worldOf(3, 4, 1 + random.below(2500), seed);
    world.roads.faults = {
      ...world.roads.faults,
      lossChance: random.fraction() * 0.02,
      longDelayChance: 0.001,
    };
    const fetch = world.fetch();
    let settled = false;
    const ended = fetch.fetched.finally(() => {
      settled = true;
    });
    ended.catch(() => {});
    for (let step = 0; step < 40 && !settled; step++) {
      await world.run(random.below(300));
      const id = 1 + random.below(3);
      const fault = random.below(6);
      if (fault < 2) world.streams.reset(SELF, id);
      else if (fault === 2) world.streams.halfOpen(SELF, id);
      else if (fault === 3) world.streams.stall(id, SELF, random.below(7000));
      else if (world.servers.has(id)) world.kill(id);
      for (const dead of [1, 2, 3]) if (!world.servers.has(dead)) await world.start(dead);
    }
    try {
      const sources = await world.outcome(ended);
      expect(rowsOf(world.files, sources), `seed ${seed}`).toEqual(world.expected());
      brought++;
    } catch (error) {
      if (!(error instanceof FetchFailed)) throw error;
      expect(error.maps, `seed ${seed}`).toEqual([]);
    }
    fetch.dispose();
    expect(world.files.paths).toEqual([]);
  }
  expect(brought).toBeGreaterThan(15);
});

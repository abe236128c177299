/** A server that has lost its data and comes back under its old id: those who have met it take nothing from it. */
import { expect, test } from 'vitest';
import { crc32 } from '../../src/lib/checksum.ts';
import type { Disk } from '../../src/lib/env.ts';
import { ConfigError } from '../../src/lib/errors.ts';
import { MetPeers } from '../../src/server/met-peers.ts';
import type { Hello } from '../../src/server/peer-hello.ts';
import { SimDisk } from '../sim/disk.ts';
import { SimRandom } from '../sim/random.ts';
import { Scheduler } from '../sim/scheduler.ts';
import { addressOf, advertisedBy, PeerWorld, peersOf } from './peer-world.ts';

const SILENT = { debug: () => {}, verbose: () => {}, notice: () => {}, warning: () => {} };

function world(): { disk: Disk; files: Map<string, Uint8Array>; settle: () => Promise<void> } {
  const scheduler = new Scheduler();
  const sim = new SimDisk(scheduler, new SimRandom(1));
  const disk = sim.open({ alive: true, paused: false, held: [] });
  const settle = async () => {
    for (let i = 0; i < 5; i++) {
      await new Promise((resolve) => setImmediate(resolve));
      await scheduler.run(scheduler.nowMs + 1000);
    }
  };
  return { disk, files: sim.files, settle };
}

async function load(disk: Disk, settle: () => Promise<void>): Promise<MetPeers> {
  const loading = MetPeers.load(disk, SILENT, 'peers');
  loading.catch(() => {});
  await settle();
  return loading;
}

function hello(from: number, incarnation: number, fresh: boolean): Hello {
  const nonce = new Uint8Array(16);
  const rest = { clusterId: 'c', name: `n${from}`, to: 9, kind: 'control' as const, nonce };
  return { ...rest, from, incarnation, fresh, address: advertisedBy(from) };
}

test('a life that begins without data is right once for an id: the first; also after a restart of who has met it', async () => {
  const { disk, settle } = world();
  let met = await load(disk, settle);
  expect(met.hasLostItsData(hello(2, 100, true))).toBe(false);
  met.met(hello(2, 100, true));
  met.met(hello(3, 7, false));
  // It reconnects in the same life.
  expect(met.hasLostItsData(hello(2, 100, true))).toBe(false);
  expect(met.hasLostItsData(hello(2, 101, true))).toBe(true);
  expect(met.hasLostItsData(hello(2, 101, false))).toBe(false);
  await settle();
  met = await load(disk, settle);
  expect(met.hasLostItsData(hello(2, 100, true))).toBe(false);
  expect(met.hasLostItsData(hello(2, 101, true))).toBe(true);
  expect(met.hasLostItsData(hello(3, 8, true))).toBe(true);
  expect(met.hasLostItsData(hello(4, 1, true))).toBe(false);
});

test('only the newest 256 are kept', async () => {
  const { disk, settle } = world();
  const met = await load(disk, settle);
  for (let id = 1; id <= 300; id++) met.met(hello(id, id, false));
  await settle();
  const again = await load(disk, settle);
  expect(again.hasLostItsData(hello(44, 1, true))).toBe(false);
  expect(again.hasLostItsData(hello(45, 1, true))).toBe(true);
  expect(again.hasLostItsData(hello(300, 1, true))).toBe(true);
});

test('every damage of the file is refused', async () => {
  const { disk, files, settle } = world();
  const met = await load(disk, settle);
  met.met(hello(2, 100, false));
  await settle();
  const whole = Buffer.from(files.get('peers')!).toString();
  const body = whole.replace(/checksum.*\n/, '').replace('2 100', '2 x');
  const lines = [
    ...Array.from({ length: whole.length }, (_, i) => whole.slice(0, i)),
    whole.replace('100', '101'),
    whole.replace('format 1', 'format 2'),
    `${body}checksum ${crc32(Buffer.from(body)).toString(16)}\n`,
  ];
  for (const text of lines) {
    files.set('peers', Buffer.from(text));
    await expect(load(disk, settle)).rejects.toThrow(ConfigError);
  }
});

test('a server without data under an id that was met before is refused by name, and one that kept them is not', async () => {
  const peers = new PeerWorld();
  const { disk, settle } = world();
  const met = await load(disk, settle);
  const a = await peers.server(1, { peers: peersOf(1, 2), met });
  const first = await peers.server(2, { peers: peersOf(1, 2), fresh: true });
  await peers.until(() => a.links.status(2).connected && first.links.status(1).connected);
  peers.crash(first, 'killed');
  const wiped = await peers.server(2, { peers: peersOf(1, 2), fresh: true });
  await peers.run(3000);
  expect(wiped.links.status(1).connected).toBe(false);
  expect(wiped.logged('cannot reach a peer', 'the peer refuses: its data are lost')).toHaveLength(1);
  expect(a.logged('refused a peer', 'its data are lost')).toHaveLength(1);
  peers.crash(wiped, 'killed');
  const kept = await peers.server(2, { peers: new Map([[1, { name: 'n1', address: addressOf(1) }]]) });
  await peers.until(() => a.links.status(2).connected && kept.links.status(1).connected);
});

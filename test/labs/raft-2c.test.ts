/** The tests of lab 2C, persistence: crashes, restarts, and a network that loses, delays and reorders. */
import { expect } from 'vitest';
import { type Config, ELECTION_TIMEOUT_MS, lab } from './config.ts';

const anyCommand = (cfg: Config) => cfg.random.below(2 ** 31);

async function restart(cfg: Config, i: number): Promise<void> {
  await cfg.start1(i);
  cfg.connect(i);
}

lab(
  'TestPersist12C: what is committed survives a crash of all, of the leader, of a follower',
  { servers: 3 },
  async (cfg) => {
    await cfg.one(11, 3, true);
    for (let i = 0; i < 3; i++) cfg.crash1(i);
    for (let i = 0; i < 3; i++) await restart(cfg, i);
    await cfg.one(12, 3, true);
    await restart(cfg, await cfg.checkOneLeader());
    await cfg.one(13, 3, true);
    const leader2 = await cfg.checkOneLeader();
    cfg.disconnect(leader2);
    await cfg.one(14, 2, true);
    await restart(cfg, leader2);
    await cfg.wait(4, 3);
    const follower = ((await cfg.checkOneLeader()) + 1) % 3;
    cfg.disconnect(follower);
    await cfg.one(15, 2, true);
    await restart(cfg, follower);
    await cfg.one(16, 3, true);
  },
);

lab(
  'TestPersist22C: five rounds of servers cut off and restarted in turn',
  { servers: 5, fastElections: true },
  async (cfg) => {
    let command = 11;
    for (let round = 0; round < 5; round++) {
      await cfg.one(command++, 5, true);
      const leader1 = await cfg.checkOneLeader();
      const nth = (i: number) => (leader1 + i) % 5;
      for (const i of [1, 2]) cfg.disconnect(nth(i));
      await cfg.one(command++, 3, true);
      for (const i of [0, 3, 4]) cfg.disconnect(nth(i));
      for (const i of [1, 2]) await cfg.start1(nth(i));
      for (const i of [1, 2]) cfg.connect(nth(i));
      await cfg.sleep(ELECTION_TIMEOUT_MS);
      await restart(cfg, nth(3));
      await cfg.one(command++, 3, true);
      for (const i of [4, 0]) cfg.connect(nth(i));
    }
    await cfg.one(1000, 5, true);
  },
);

lab(
  'TestPersist32C: a leader and a follower crash while the third is cut off, and the leader restarts',
  { servers: 3 },
  async (cfg) => {
    await cfg.one(101, 3, true);
    const leader = await cfg.checkOneLeader();
    const [follower, third] = [(leader + 1) % 3, (leader + 2) % 3];
    cfg.disconnect(third);
    await cfg.one(102, 2, true);
    cfg.crash1(leader);
    cfg.crash1(follower);
    cfg.connect(third);
    await restart(cfg, leader);
    await cfg.one(103, 2, true);
    await restart(cfg, follower);
    await cfg.one(104, 3, true);
  },
);

/** Mostly so short that nothing is committed, now and then long enough for an election. */
function shortPause(cfg: Config): Promise<void> {
  const { random } = cfg;
  return cfg.sleep(random.chance(0.1) ? random.below(ELECTION_TIMEOUT_MS / 2) : random.below(13));
}

lab(
  'TestFigure82C: leaders crash all the time, at every stage of replicating (figure 8)',
  { servers: 5, fastElections: true },
  async (cfg) => {
    await cfg.one(anyCommand(cfg), 1, true);
    let upCount = 5;
    for (let round = 0; round < 1000; round++) {
      let leader = -1;
      for (let i = 0; i < 5; i++) if (cfg.start(i, anyCommand(cfg)).ok) leader = i;
      await shortPause(cfg);
      if (leader >= 0) {
        cfg.crash1(leader);
        upCount--;
      }
      if (upCount >= 3) continue;
      const i = cfg.random.below(5);
      if (cfg.up(i)) continue;
      await restart(cfg, i);
      upCount++;
    }
    for (let i = 0; i < 5; i++) if (!cfg.up(i)) await restart(cfg, i);
    await cfg.one(anyCommand(cfg), 5, true);
  },
);

lab(
  'TestUnreliableAgree2C: agreement over a network that loses and delays',
  { servers: 5, unreliable: true },
  async (cfg) => {
    const concurrent: Promise<number>[] = [];
    for (let round = 1; round < 50; round++) {
      for (let j = 0; j < 4; j++) concurrent.push(cfg.one(100 * round + j, 1, true));
      await cfg.one(round, 1, true);
    }
    cfg.network.reliable = true;
    await Promise.all(concurrent);
    await cfg.one(100, 5, true);
  },
);

lab(
  'TestFigure8Unreliable2C: figure 8 with leaders cut off and answers seconds late',
  { servers: 5, fastElections: true, unreliable: true },
  async (cfg) => {
    await cfg.one(cfg.random.below(10_000), 1, true);
    let upCount = 5;
    for (let round = 0; round < 1000; round++) {
      if (round === 200) cfg.network.longReordering = true;
      let leader = -1;
      for (let i = 0; i < 5; i++) {
        if (cfg.start(i, cfg.random.below(10_000)).ok && cfg.connected(i)) leader = i;
      }
      await shortPause(cfg);
      if (leader >= 0 && cfg.random.chance(0.5)) {
        cfg.disconnect(leader);
        upCount--;
      }
      if (upCount >= 3) continue;
      const i = cfg.random.below(5);
      if (cfg.connected(i)) continue;
      cfg.connect(i);
      upCount++;
    }
    for (let i = 0; i < 5; i++) cfg.connect(i);
    await cfg.one(cfg.random.below(10_000), 5, true);
  },
);

/** A client of the churn tests: tries everybody, waits a little, and keeps what it saw committed. */
async function churnClient(cfg: Config, me: number, seen: string[], stopped: () => boolean): Promise<void> {
  while (!stopped()) {
    const command = String(anyCommand(cfg));
    let index = -1;
    for (let i = 0; i < 5; i++) {
      const started = cfg.start(i, command);
      if (started.ok) index = started.index;
    }
    if (index < 0) {
      await cfg.sleep(79 + me * 17);
      continue;
    }
    for (const pauseMs of [10, 20, 50, 100, 200]) {
      const committed = cfg.nCommitted(index);
      if (committed.count > 0) {
        if (committed.command === command) seen.push(command);
        break;
      }
      await cfg.sleep(pauseMs);
    }
  }
}

async function churn(cfg: Config): Promise<void> {
  let stop = false;
  const seen: string[] = [];
  const clients = [0, 1, 2].map((me) => churnClient(cfg, me, seen, () => stop));
  for (let round = 0; round < 20; round++) {
    if (cfg.random.chance(0.2)) cfg.disconnect(cfg.random.below(5));
    if (cfg.random.chance(0.5)) {
      const i = cfg.random.below(5);
      if (!cfg.up(i)) await cfg.start1(i);
      cfg.connect(i);
    }
    if (cfg.random.chance(0.2)) cfg.crash1(cfg.random.below(5));
    // So seldom that servers often catch up, so often that not everything has settled.
    await cfg.sleep(0.7 * ELECTION_TIMEOUT_MS);
  }
  await cfg.sleep(ELECTION_TIMEOUT_MS);
  cfg.network.reliable = true;
  for (let i = 0; i < 5; i++) {
    if (!cfg.up(i)) await cfg.start1(i);
    cfg.connect(i);
  }
  stop = true;
  await Promise.all(clients);
  await cfg.sleep(ELECTION_TIMEOUT_MS);
  const lastIndex = await cfg.one(anyCommand(cfg), 5, true);
  const log = new Set<string | undefined>();
  for (let index = 1; index <= lastIndex; index++) log.add(await cfg.wait(index, 5));
  expect(seen.length).toBeGreaterThan(0);
  for (const command of seen) expect(log.has(command), `${command} was seen committed`).toBe(true);
}

lab(
  'TestReliableChurn2C: what a client saw committed stays, while servers come and go',
  { servers: 5, fastElections: true, seeds: 4 },
  churn,
);
lab(
  'TestUnreliableChurn2C: the same over a bad network',
  { servers: 5, fastElections: true, seeds: 6, unreliable: true },
  churn,
);

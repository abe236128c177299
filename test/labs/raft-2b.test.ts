/** The tests of lab 2B, agreement; RPCBytes, FollowerFailure and LeaderFailure are from later years. */
import { expect } from 'vitest';
import { assert } from '../../src/lib/assert.ts';
import { type Config, ELECTION_TIMEOUT_MS, lab } from './config.ts';

const anyCommand = (cfg: Config) => cfg.random.below(2 ** 31);

lab(
  'TestBasicAgree2B: commands land at index 1, 2, 3, and none before it is started',
  { servers: 5 },
  async (cfg) => {
    for (let index = 1; index <= 3; index++) {
      expect(cfg.nCommitted(index).count).toBe(0);
      expect(await cfg.one(index * 100, 5, false)).toBe(index);
    }
  },
);

lab('TestRPCBytes2B: each command is sent to each peer just once', { servers: 3 }, async (cfg) => {
  await cfg.one(99, 3, false);
  const before = cfg.bytesTotal();
  let sent = 0;
  for (let index = 2; index < 12; index++) {
    const command = `${index}`.padEnd(5000, 'x');
    expect(await cfg.one(command, 3, false)).toBe(index);
    sent += command.length;
  }
  expect(cfg.bytesTotal() - before).toBeLessThanOrEqual(3 * sent + 50_000);
});

lab(
  'TestFailAgree2B: two of three agree while a follower is off, and it catches up',
  { servers: 3 },
  async (cfg) => {
    await cfg.one(101, 3, false);
    const leader = await cfg.checkOneLeader();
    cfg.disconnect((leader + 1) % 3);
    await cfg.one(102, 2, false);
    await cfg.one(103, 2, false);
    await cfg.sleep(ELECTION_TIMEOUT_MS);
    await cfg.one(104, 2, false);
    await cfg.one(105, 2, false);
    cfg.connect((leader + 1) % 3);
    await cfg.one(106, 3, true);
    await cfg.sleep(ELECTION_TIMEOUT_MS);
    await cfg.one(107, 3, true);
  },
);

lab(
  'TestFollowerFailure2B: followers fail one after the other, and the last leader commits nothing',
  { servers: 3 },
  async (cfg) => {
    await cfg.one(101, 3, false);
    const leader1 = await cfg.checkOneLeader();
    cfg.disconnect((leader1 + 1) % 3);
    await cfg.one(102, 2, false);
    await cfg.sleep(ELECTION_TIMEOUT_MS);
    await cfg.one(103, 2, false);
    const leader2 = await cfg.checkOneLeader();
    cfg.disconnect((leader2 + 1) % 3);
    cfg.disconnect((leader2 + 2) % 3);
    const started = cfg.start(leader2, 104);
    expect(started).toMatchObject({ ok: true, index: 4 });
    await cfg.sleep(2 * ELECTION_TIMEOUT_MS);
    expect(cfg.nCommitted(4).count).toBe(0);
  },
);

lab(
  'TestLeaderFailure2B: leaders fail one after the other, and the last server commits nothing',
  { servers: 3 },
  async (cfg) => {
    await cfg.one(101, 3, false);
    cfg.disconnect(await cfg.checkOneLeader());
    await cfg.one(102, 2, false);
    await cfg.sleep(ELECTION_TIMEOUT_MS);
    await cfg.one(103, 2, false);
    cfg.disconnect(await cfg.checkOneLeader());
    for (let i = 0; i < 3; i++) cfg.start(i, 104);
    await cfg.sleep(2 * ELECTION_TIMEOUT_MS);
    expect(cfg.nCommitted(4).count).toBe(0);
  },
);

lab('TestFailNoAgree2B: nothing is agreed on with three of five off', { servers: 5 }, async (cfg) => {
  await cfg.one(10, 5, false);
  const leader = await cfg.checkOneLeader();
  for (const off of [1, 2, 3]) cfg.disconnect((leader + off) % 5);
  expect(cfg.start(leader, 20)).toMatchObject({ ok: true, index: 2 });
  await cfg.sleep(2 * ELECTION_TIMEOUT_MS);
  expect(cfg.nCommitted(2).count).toBe(0);
  for (const off of [1, 2, 3]) cfg.connect((leader + off) % 5);
  // Those who were off may have chosen a leader of their own, who does not know of index 2.
  const leader2 = await cfg.checkOneLeader();
  const second = cfg.start(leader2, 30);
  expect(second.ok).toBe(true);
  expect(second.index === 2 || second.index === 3).toBe(true);
  await cfg.one(1000, 5, true);
});

lab('TestConcurrentStarts2B: commands started at once all commit', { servers: 3 }, async (cfg) => {
  for (let tries = 0; tries < 5; tries++) {
    if (tries > 0) await cfg.sleep(3000);
    if (await concurrentStarts(cfg)) return;
  }
  assert(false, 'the term changed too often');
});

/** False if the term changed meanwhile, so that nothing can be said. */
async function concurrentStarts(cfg: Config): Promise<boolean> {
  const leader = await cfg.checkOneLeader();
  const { term, ok } = cfg.start(leader, 1);
  if (!ok) return false;
  const commands = [100, 101, 102, 103, 104];
  const started = commands
    .map((command) => cfg.start(leader, command))
    .filter((s) => s.ok && s.term === term);
  for (let i = 0; i < 3; i++) if (cfg.state(i).term !== term) return false;
  const committed: (string | undefined)[] = [];
  for (const { index } of started) committed.push(await cfg.wait(index, 3, term));
  if (committed.includes(undefined)) return false;
  expect(committed.sort()).toEqual(commands.map(String));
  return true;
}

lab(
  'TestRejoin2B: a leader that was cut off rejoins with entries nobody else has',
  { servers: 3 },
  async (cfg) => {
    await cfg.one(101, 3, true);
    const leader1 = await cfg.checkOneLeader();
    cfg.disconnect(leader1);
    for (const command of [102, 103, 104]) cfg.start(leader1, command);
    await cfg.one(103, 2, true);
    const leader2 = await cfg.checkOneLeader();
    cfg.disconnect(leader2);
    cfg.connect(leader1);
    await cfg.one(104, 2, true);
    cfg.connect(leader2);
    await cfg.one(105, 3, true);
  },
);

lab('TestBackup2B: a leader backs up quickly over long logs that are wrong', { servers: 5 }, async (cfg) => {
  const off = (...servers: number[]) => {
    for (const i of servers) cfg.disconnect(i % 5);
  };
  const on = (...servers: number[]) => {
    for (const i of servers) cfg.connect(i % 5);
  };
  await cfg.one(anyCommand(cfg), 5, true);
  const leader1 = await cfg.checkOneLeader();
  off(leader1 + 2, leader1 + 3, leader1 + 4);
  for (let i = 0; i < 50; i++) cfg.start(leader1, anyCommand(cfg));
  await cfg.sleep(ELECTION_TIMEOUT_MS / 2);
  off(leader1, leader1 + 1);
  on(leader1 + 2, leader1 + 3, leader1 + 4);
  for (let i = 0; i < 50; i++) await cfg.one(anyCommand(cfg), 3, true);
  const leader2 = await cfg.checkOneLeader();
  const other = (leader1 + 2) % 5 === leader2 ? (leader2 + 1) % 5 : (leader1 + 2) % 5;
  off(other);
  for (let i = 0; i < 50; i++) cfg.start(leader2, anyCommand(cfg));
  await cfg.sleep(ELECTION_TIMEOUT_MS / 2);
  off(0, 1, 2, 3, 4);
  on(leader1, leader1 + 1, other);
  for (let i = 0; i < 50; i++) await cfg.one(anyCommand(cfg), 3, true);
  on(0, 1, 2, 3, 4);
  await cfg.one(anyCommand(cfg), 5, true);
});

lab(
  'TestCount2B: elections, agreement and idleness take no more RPCs than they need',
  { servers: 3 },
  async (cfg) => {
    await cfg.checkOneLeader();
    expect(cfg.rpcTotal()).toBeGreaterThanOrEqual(1);
    expect(cfg.rpcTotal()).toBeLessThanOrEqual(30);
    let counted = false;
    for (let tries = 0; tries < 5 && !counted; tries++) {
      if (tries > 0) await cfg.sleep(3000);
      counted = await countAgreement(cfg);
    }
    expect(counted, 'the term changed too often').toBe(true);
    const before = cfg.rpcTotal();
    await cfg.sleep(ELECTION_TIMEOUT_MS);
    expect(cfg.rpcTotal() - before).toBeLessThanOrEqual(3 * 20);
  },
);

/** 12 entries take at most (10 + 1 + 3) * 3 RPCs. False if the term changed meanwhile. */
async function countAgreement(cfg: Config): Promise<boolean> {
  const leader = await cfg.checkOneLeader();
  const before = cfg.rpcTotal();
  const first = cfg.start(leader, 1);
  if (!first.ok) return false;
  const commands = Array.from({ length: 11 }, () => anyCommand(cfg));
  for (const [i, command] of commands.entries()) {
    const { index, term, ok } = cfg.start(leader, command);
    if (!ok || term !== first.term) return false;
    expect(index).toBe(first.index + 1 + i);
  }
  for (let i = 1; i <= 10; i++) {
    const committed = await cfg.wait(first.index + i, 3, first.term);
    if (committed === undefined) return false;
    expect(committed).toBe(String(commands[i - 1]));
  }
  for (let i = 0; i < 3; i++) if (cfg.state(i).term !== first.term) return false;
  expect(cfg.rpcTotal() - before).toBeLessThanOrEqual((10 + 1 + 3) * 3);
  return true;
}

/** The tests of lab 2A, leader election; ManyElections is from later years. See raft.md of the course, and config.ts here. */
import { expect } from 'vitest';
import { ELECTION_TIMEOUT_MS, lab } from './config.ts';

lab(
  'TestInitialElection2A: a leader is elected, and stays while nothing fails',
  { servers: 3 },
  async (cfg) => {
    await cfg.checkOneLeader();
    // Followers learn of the election a little later.
    await cfg.sleep(50);
    const term = cfg.checkTerms();
    expect(term).toBeGreaterThanOrEqual(1);
    await cfg.sleep(2 * ELECTION_TIMEOUT_MS);
    // The lab only warns when the term has changed. Without a failure it must not.
    expect(cfg.checkTerms()).toBe(term);
    await cfg.checkOneLeader();
  },
);

lab(
  'TestReElection2A: a new leader follows a lost one, and none without a quorum',
  { servers: 3 },
  async (cfg) => {
    const leader1 = await cfg.checkOneLeader();
    cfg.disconnect(leader1);
    await cfg.checkOneLeader();
    // The old leader comes back and disturbs nobody.
    cfg.connect(leader1);
    const leader2 = await cfg.checkOneLeader();
    cfg.disconnect(leader2);
    cfg.disconnect((leader2 + 1) % 3);
    await cfg.sleep(2 * ELECTION_TIMEOUT_MS);
    cfg.checkNoLeader();
    cfg.connect((leader2 + 1) % 3);
    await cfg.checkOneLeader();
    cfg.connect(leader2);
    await cfg.checkOneLeader();
  },
);

lab('TestManyElections2A: with any three of seven cut off there is a leader', { servers: 7 }, async (cfg) => {
  await cfg.checkOneLeader();
  for (let round = 1; round < 10; round++) {
    const off = [cfg.random.below(7), cfg.random.below(7), cfg.random.below(7)];
    for (const i of off) cfg.disconnect(i);
    await cfg.checkOneLeader();
    for (const i of off) cfg.connect(i);
  }
  await cfg.checkOneLeader();
});

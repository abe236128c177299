/**
 * The background removal of expired keys: who looks, how much at a time, and what happens when it fails.
 */
import { describe, expect, test } from 'vitest';
import { latin1 } from '../../src/lib/bytes.ts';
import { ErrorReply, OK, type Reply } from '../../src/resp/reply.ts';
import { Expirer } from '../../src/server/expirer.ts';
import type { Waiter } from '../../src/server/writes.ts';
import { LogScript } from '../kv/log-script.ts';
import { command, commandIn } from '../kv/replica.ts';
import { SimClock } from '../sim/clock.ts';
import { SimRandom } from '../sim/random.ts';
import { type Life, Scheduler } from '../sim/scheduler.ts';

interface Proposed {
  readonly db: number;
  readonly names: string[];
  readonly waiter: Waiter;
  readonly atMs: number;
}

/** A state machine and its expirer, whose proposals the test applies, or loses. */
class World {
  readonly scheduler = new Scheduler();
  readonly script: LogScript;
  readonly clock: SimClock;
  readonly expirer: Expirer;
  readonly clockFaults = { rate: 1, wallSkewMs: 0 };
  readonly proposed: Proposed[] = [];
  mayWrite = true;
  /** What becomes of a proposal. */
  outcome: 'applied' | 'lost' | 'unanswered' = 'applied';

  constructor() {
    const life: Life = { alive: true, paused: false, held: [] };
    const { scheduler } = this;
    this.clock = new SimClock(scheduler, life, this.clockFaults, new SimRandom(1));
    const script = new LogScript({}, this.clock.wallMs());
    this.script = script;
    this.expirer = new Expirer({
      clock: this.clock,
      stateMachine: script.replica.machine,
      mayWrite: () => this.mayWrite,
      write: (db, argv, waiter) => {
        const names = argv.slice(1).map(latin1);
        this.proposed.push({ db, names, waiter, atMs: scheduler.nowMs });
        // A reply never comes before the question has been asked.
        scheduler.after(1, life, () => this.#settle(db, names, waiter));
      },
    });
    scheduler.afterEvent = () => script.replica.store.drain();
  }

  #settle(db: number, names: string[], waiter: Waiter): void {
    if (this.outcome === 'unanswered') return;
    let reply: Reply = new ErrorReply('TIMEOUT', 'nobody knows');
    if (this.outcome === 'applied') {
      this.script.nowMs = Math.max(this.script.nowMs, this.clock.wallMs());
      reply = this.script.run(commandIn(db, 'hstore.remove-expired', ...names));
      expect(reply).toBe(OK);
    }
    waiter.resolve(reply);
  }

  /** Keys that live for 50 ms from now. */
  setMortal(count: number, db = 0): void {
    this.script.nowMs = this.clock.wallMs();
    for (let i = 0; i < count; i++) this.script.run(commandIn(db, 'SET', `k${i}`, 'v', 'PX', '50'));
  }

  run(ms: number): Promise<void> {
    return this.scheduler.run(this.scheduler.nowMs + ms);
  }

  get sizes(): readonly number[] {
    return this.script.replica.machine.sizes;
  }
}

describe('the expirer', () => {
  test('removes what has expired in all databases, soon, and leaves what has not', async () => {
    const world = new World();
    world.setMortal(10);
    world.setMortal(7, 15);
    world.script.run(command('SET', 'long', 'v', 'PX', '60000'), command('SET', 'for ever', 'v'));
    await world.run(49);
    expect([world.sizes[0], world.sizes[15], world.proposed.length]).toEqual([12, 7, 0]);
    await world.run(1000);
    expect([world.sizes[0], world.sizes[15]]).toEqual([2, 0]);
    expect(world.proposed.map(({ names }) => names.length)).toEqual([10, 7]);
  });

  test('takes a bounded number at a time, and the next only when these are gone', async () => {
    const world = new World();
    world.setMortal(1700);
    await world.run(2000);
    expect(world.sizes[0]).toBe(0);
    expect(world.proposed.map(({ names }) => names.length)).toEqual([500, 500, 500, 200]);
    const pauses = world.proposed.slice(1).map(({ atMs }, i) => atMs - world.proposed[i]!.atMs);
    for (const pauseMs of pauses) expect(pauseMs).toBeGreaterThanOrEqual(20);
    expect(pauses.reduce((sum, pauseMs) => sum + pauseMs, 0)).toBeLessThan(300);
  });

  test('proposes nothing more while a proposal is under way', async () => {
    const world = new World();
    world.outcome = 'unanswered';
    world.setMortal(1700);
    await world.run(5000);
    expect(world.proposed).toHaveLength(1);
    world.outcome = 'applied';
    world.proposed[0]!.waiter.resolve(OK);
    await world.run(1000);
    expect(world.proposed.length).toBeGreaterThan(1);
  });

  test('finds again what was proposed and lost, behind the next checkpoint', async () => {
    for (const saved of [true, false]) {
      const world = new World();
      world.setMortal(10);
      if (saved) world.script.replica.checkpoint();
      world.outcome = 'lost';
      await world.run(1000);
      expect(world.sizes[0]).toBe(10);
      world.outcome = 'applied';
      world.script.command('SET', 'other', 'v');
      world.script.replica.checkpoint();
      await world.run(1000);
      expect(world.sizes[0]).toBe(1);
    }
  });

  test('goes by the time of the log where its own clock is behind that', async () => {
    const world = new World();
    world.setMortal(10);
    world.clockFaults.wallSkewMs = -3_600_000;
    await world.run(1000);
    expect(world.sizes[0]).toBe(10);
    world.script.nowMs += 51;
    world.script.run({ kind: 'advance' });
    await world.run(1000);
    expect(world.sizes[0]).toBe(0);
  });

  test('looks at nothing while its server does not lead or has no room, or it has been switched off', async () => {
    const world = new World();
    world.mayWrite = false;
    world.setMortal(10);
    await world.run(1000);
    expect(world.proposed).toEqual([]);
    world.mayWrite = true;
    world.script.command('hstore.active-expire', '0');
    await world.run(1000);
    expect(world.proposed).toEqual([]);
    world.script.command('hstore.active-expire', '1');
    await world.run(1000);
    expect(world.sizes[0]).toBe(0);
  });

  test('is quiet once it is stopped, be it that an answer of the store is on its way', async () => {
    const world = new World();
    world.setMortal(10);
    world.script.replica.checkpoint();
    world.scheduler.afterEvent = () => undefined;
    await world.run(1000);
    expect(world.script.replica.store.waiting).toBe(1);
    world.expirer.stop();
    world.script.replica.store.drain();
    await world.run(1000);
    expect(world.proposed).toEqual([]);
  });
});

/** The master: every task is done, and counted once, whoever fails. Sentences of Dean & Ghemawat 2004 are quoted. */
import { describe, expect, test } from 'vitest';
import { type Assignment, Master } from '../../src/mapreduce/master.ts';
import type { TaskDone, TaskFailure } from '../../src/mapreduce/tasks.ts';
import { SimRandom } from '../sim/random.ts';

function result({ phase, task, attempt }: Assignment, counters: Record<string, number> = {}): TaskDone {
  return { file: `${phase}${task}.${attempt}`, bytes: 1, counters };
}

const FAILURE: TaskFailure = { message: 'no', deterministic: false };

/** Does all that is to be done, on one worker. */
function finish(master: Master, nowMs = 0): void {
  for (let ms = nowMs; master.phase !== 'done'; ms += 1000) {
    const next = master.next(0, ms);
    if (next !== undefined) master.done(next.attempt, result(next), ms);
    expect(ms - nowMs).toBeLessThan(1_000_000);
  }
}

test('reduce tasks begin when all map tasks are done, and the job is done when they are', () => {
  const master = new Master(2, 2);
  const [a, b] = [master.next(1, 0)!, master.next(2, 0)!];
  expect([a, b]).toMatchObject([
    { phase: 'map', task: 0 },
    { phase: 'map', task: 1 },
  ]);
  expect(master.next(3, 0)).toBeUndefined();
  expect(master.done(b.attempt, result(b), 10)).toEqual({ counts: true, abort: [] });
  expect(master.next(2, 10)).toBeUndefined();
  master.done(a.attempt, result(a), 20);
  expect(master.phase).toBe('reduce');
  expect(master.mapFiles).toEqual([`map0.${a.attempt}`, `map1.${b.attempt}`]);
  finish(master, 20);
  expect(master.parts).toHaveLength(2);
});

test('a job without input has its reduce tasks, and so its parts', () => {
  const master = new Master(0, 3);
  expect(master.phase).toBe('reduce');
  finish(master);
  expect(master.parts).toHaveLength(3);
});

test('fewer map tasks than reduce tasks, and more workers than tasks, are nothing special', () => {
  const master = new Master(1, 50);
  const map = master.next(0, 0)!;
  for (let worker = 1; worker < 100; worker++) expect(master.next(worker, 0)).toBeUndefined();
  master.done(map.attempt, result(map), 1);
  const reduces = Array.from({ length: 100 }, (_, worker) => master.next(worker, 1)).filter(Boolean);
  expect(reduces).toHaveLength(50);
  for (const reduce of reduces) master.done(reduce!.attempt, result(reduce!), 2);
  expect(master.phase).toBe('done');
});

describe('an attempt', () => {
  test('that fails is followed by another one, after a pause that grows; the fourth fails the job', () => {
    const master = new Master(1, 1);
    let nowMs = 0;
    for (const pauseMs of [100, 200, 400]) {
      master.failed(master.next(0, nowMs)!.attempt, FAILURE, nowMs);
      expect(master.next(0, nowMs + pauseMs - 1)).toBeUndefined();
      expect(master.nextLookMs(nowMs)).toBe(nowMs + pauseMs);
      nowMs += pauseMs;
    }
    master.failed(master.next(0, nowMs)!.attempt, { ...FAILURE, file: 'x', offset: 7 }, nowMs);
    expect(master.phase).toBe('failed');
    expect(master.failure).toMatchObject({
      phase: 'map',
      task: 0,
      attempts: 4,
      failure: { file: 'x', offset: 7 },
    });
    expect(master.next(0, 1_000_000)).toBeUndefined();
  });

  test('that fails as it always would fails the job at once', () => {
    const master = new Master(2, 1);
    master.failed(master.next(0, 0)!.attempt, { ...FAILURE, deterministic: true }, 0);
    expect(master.failure).toMatchObject({ attempts: 1 });
  });

  test('whose worker is lost is no failure of the task', () => {
    const master = new Master(1, 1);
    for (let worker = 0; worker < 10; worker++) {
      expect(master.next(worker, worker)).toBeDefined();
      master.workerLost(worker);
    }
    finish(master, 10);
  });

  test('"the master ignores" what comes for a task that is done, be it the same attempt again or another', () => {
    const master = new Master(4, 1);
    const maps = [0, 1, 2, 3].map((worker) => master.next(worker, 0)!);
    for (const map of maps.slice(0, 3)) master.done(map.attempt, result(map, { words: 1 }), 100);
    const [slow] = maps.slice(3);
    const backup = master.next(0, 5000)!;
    expect(backup).toMatchObject({ phase: 'map', task: slow!.task });
    expect(backup.attempt).not.toBe(slow!.attempt);
    const { counts, abort } = master.done(backup.attempt, result(backup, { words: 1 }), 5100);
    expect([counts, abort.map(({ attempt }) => attempt)]).toEqual([true, [slow!.attempt]]);
    expect(master.done(slow!.attempt, result(slow!, { words: 1 }), 5200).counts).toBe(false);
    expect(master.done(backup.attempt, result(backup, { words: 1 }), 5300).counts).toBe(false);
    expect(master.counters).toEqual({ words: 4 });
    expect(master.mapFiles[slow!.task]).toBe(`map${slow!.task}.${backup.attempt}`);
  });
});

describe('"backup executions of the remaining in-progress tasks"', () => {
  test('begin near the end of a phase, for one that takes much longer than the others, once, and elsewhere', () => {
    const master = new Master(8, 1);
    const maps = Array.from({ length: 8 }, (_, worker) => master.next(worker, 0)!);
    for (const map of maps.slice(0, 5)) master.done(map.attempt, result(map), 2000);
    expect(master.next(0, 100_000), 'too early in the phase').toBeUndefined();
    master.done(maps[5]!.attempt, result(maps[5]!), 2000);
    expect(master.next(0, 2999), 'not much longer').toBeUndefined();
    expect(master.next(6, 3001), 'a second one, and not of its own').toMatchObject({ task: 7 });
    expect(master.next(7, 3001)).toMatchObject({ task: 6 });
    expect(master.next(0, 100_000), 'a third attempt').toBeUndefined();
  });
});

test('"completed map tasks are re-executed on a failure because their output is stored on the local disk(s) of the failed machine"', () => {
  const master = new Master(3, 2);
  for (let i = 0; i < 3; i++) {
    const map = master.next(i, 0)!;
    master.done(map.attempt, result(map), 1);
  }
  const [first, second] = [master.next(0, 2)!, master.next(1, 2)!];
  master.done(first.attempt, result(first), 3);
  master.mapLost([1]);
  expect(master.phase).toBe('map');
  const again = master.next(0, 4)!;
  expect(again).toMatchObject({ phase: 'map', task: 1 });
  master.failed(second.attempt, FAILURE, 4);
  master.done(again.attempt, result(again), 5);
  expect(master.phase).toBe('reduce');
  expect(master.next(0, 10_000)).toMatchObject({ phase: 'reduce', task: second.task });
  expect(master.doneCount('reduce'), 'completed reduce tasks are not').toBe(1);
});

test('whatever fails, is lost, late or doubled, every task counts once (random histories)', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = new SimRandom(seed);
    const [maps, reducers] = [random.below(12), 1 + random.below(8)];
    const master = new Master(maps, reducers);
    const reported: Assignment[] = [];
    let nowMs = 0;
    for (let step = 0; step < 5000 && master.phase !== 'done'; step++) {
      nowMs += random.below(300);
      const worker = random.below(6);
      const busy = master.running.find((running) => running.worker === worker);
      if (busy === undefined) {
        master.next(worker, nowMs);
        continue;
      }
      const chance = random.fraction();
      if (chance < 0.05) master.workerLost(worker);
      else if (chance < 0.08 && master.phase === 'reduce' && maps > 0) master.mapLost([random.below(maps)]);
      else if (chance < 0.6) {
        reported.push(busy);
        master.done(busy.attempt, result(busy, { [busy.phase]: 1 }), nowMs);
      } else if (chance < 0.65 && reported.length > 0) {
        const late = random.pick(reported);
        expect(master.done(late.attempt, result(late, { [late.phase]: 1 }), nowMs).counts).toBe(false);
      }
    }
    expect(master.phase, `seed ${seed}`).toBe('done');
    expect(master.counters).toEqual({ ...(maps > 0 ? { map: maps } : {}), reduce: reducers });
  }
});

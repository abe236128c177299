/** Jobs on the threads of one machine, in virtual time: threads die, hang, fail and are slow. */
import { describe, expect, test } from 'vitest';
import { findInputs } from '../../src/mapreduce/inputs.ts';
import { type JobOutcome, LocalJob } from '../../src/mapreduce/local.ts';
import { writeOutput } from '../../src/mapreduce/output.ts';
import { planSplits } from '../../src/mapreduce/splits.ts';
import type { JobSpec, TaskFailure } from '../../src/mapreduce/tasks.ts';
import { SimClock } from '../sim/clock.ts';
import { SimRandom } from '../sim/random.ts';
import { type Life, Scheduler } from '../sim/scheduler.ts';
import { MemoryFiles } from './memory-files.ts';
import { wordCount } from './naive-task.ts';
import { type Fate, SimThreads } from './sim-threads.ts';

const TEXT = 'the cat and the dog and the end of it all or nothing';
const DONE: Fate = { kind: 'done', afterMs: 10 };
const FAILURE: TaskFailure = { message: 'cannot', deterministic: false };

class World {
  readonly scheduler = new Scheduler();
  readonly files = new MemoryFiles();
  readonly threads = new SimThreads(this.scheduler, this.files);
  readonly life: Life = { alive: true, paused: false, held: [] };
  readonly clock = new SimClock(this.scheduler, this.life, { rate: 1, wallSkewMs: 0 }, new SimRandom(1));
  readonly job: LocalJob;
  readonly texts: readonly string[];

  constructor(options: { files?: number; splitBytes?: number; reducers?: number; workers?: number } = {}) {
    const { files = 4, splitBytes = 1000, reducers = 3, workers = 2 } = options;
    this.texts = Array.from({ length: files }, (_, i) => `${TEXT} ${'x'.repeat(i + 1)}`);
    this.texts.forEach((text, i) => {
      this.files.put(`in/${`${i}`.padStart(3, '0')}`, Buffer.from(text));
    });
    const inputs = files === 0 ? [] : findInputs(['in'], this.files);
    const spec: JobSpec = {
      ...{ job: { kind: 'builtin', name: 'wc' }, args: {}, output: 'keyed', temporary: 'tmp' },
      ...{ reducers, memoryBytes: 1 << 20 },
    };
    const splits = planSplits(inputs, { workers, splitBytes });
    this.job = new LocalJob({ spec, splits, workers, threads: this.threads, clock: this.clock });
  }

  /** Until the job has come to its end. */
  async run(untilMs = 10_000_000): Promise<JobOutcome> {
    let outcome: JobOutcome | undefined;
    void this.job.run().then((settled) => {
      outcome = settled;
    });
    await this.scheduler.run(untilMs, () => outcome !== undefined);
    expect(outcome, 'the job ends').toBeDefined();
    expect(this.threads.alive, 'threads left').toBe(0);
    return outcome!;
  }

  async expectRight(outcome: JobOutcome): Promise<void> {
    if (outcome.outcome !== 'done') expect.fail(JSON.stringify(outcome));
    let text = '';
    const write = async (block: Uint8Array) => {
      text += Buffer.from(block).toString();
      return true;
    };
    await writeOutput(outcome.parts, { by: 'key', top: undefined }, { files: this.files, write });
    expect(text).toBe(wordCount(this.texts));
    expect(outcome.counters.words ?? 0).toBe(this.texts.join(' ').split(' ').filter(Boolean).length);
  }
}

test.each([
  { files: 1, reducers: 3, workers: 1 },
  { files: 1, reducers: 50, workers: 8 },
  { files: 40, reducers: 1, workers: 16 },
  { files: 5, splitBytes: 7, reducers: 3, workers: 2 },
  { files: 0, reducers: 2, workers: 2 },
])('a job counts every word once: %j', async (shape) => {
  const world = new World(shape);
  await world.expectRight(await world.run());
  expect(world.threads.mostAlive).toBeLessThanOrEqual(shape.workers);
  const names = world.threads.attempts.map(({ phase, task }) => `${phase} ${task}`);
  expect(new Set(names).size, 'without failures each task is done once').toBe(names.length);
});

test('no reduce task begins before the last map task is done, and all workers work', async () => {
  const world = new World({ files: 10, workers: 3 });
  const threads = new Set<number>();
  world.threads.fate = (task, thread) => {
    threads.add(thread);
    if (task.phase === 'reduce') expect(world.job.progress.maps).toEqual({ done: 10, of: 10 });
    return DONE;
  };
  await world.expectRight(await world.run());
  expect(threads.size).toBe(3);
  const { bytes, reduces } = world.job.progress;
  expect([bytes.done, reduces.done]).toEqual([bytes.of, reduces.of]);
});

describe('a worker', () => {
  test('that dies in the middle of a task is replaced, and the task done again', async () => {
    const world = new World();
    world.threads.fate = (task) => (task.attempt % 3 === 0 ? { kind: 'dies' } : DONE);
    await world.expectRight(await world.run());
    expect(world.threads.started).toBeGreaterThan(2);
  });

  test('that hangs is given up after thirty seconds, and the task done again', async () => {
    const world = new World({ files: 2 });
    world.threads.fate = (task) => (task.attempt === 1 || task.attempt === 2 ? { kind: 'hangs' } : DONE);
    await world.expectRight(await world.run());
    expect(world.scheduler.nowMs).toBeGreaterThan(30_000);
    expect(world.scheduler.nowMs).toBeLessThan(35_000);
  });

  test('that is slow at the end of a phase has its task done by another, and is ended', async () => {
    const world = new World({ files: 8, workers: 4 });
    world.threads.fate = (_, thread) => (thread === 3 ? { kind: 'done', afterMs: 20_000 } : DONE);
    await world.expectRight(await world.run());
    expect(world.scheduler.nowMs).toBeLessThan(5_000);
    expect(world.threads.started, 'one in its place').toBe(5);
  });

  test('that was asleep with the whole process is not given up', async () => {
    const world = new World({ files: 1, workers: 1 });
    const { scheduler, life } = world;
    scheduler.at(1_000, undefined, () => {
      life.paused = true;
    });
    scheduler.at(69_000, undefined, () => scheduler.resume(life));
    world.threads.fate = (task) => ({ kind: 'done', afterMs: task.phase === 'map' ? 70_000 : 10 });
    await world.expectRight(await world.run());
    expect(world.threads.attempts).toHaveLength(4);
  });

  test('that cannot have the job at all fails it', async () => {
    const world = new World();
    world.threads.greeting = () => ({ kind: 'unable', failure: FAILURE });
    expect(await world.run()).toEqual({ outcome: 'failed', failure: FAILURE });
  });

  test.each(['dies', 'hangs'] as const)(
    'that %s before it is ready, again and again, fails the job',
    async (how) => {
      const world = new World();
      world.threads.greeting = () => how;
      expect(await world.run()).toMatchObject({ outcome: 'failed' });
      expect(world.threads.started).toBeLessThan(30);
    },
  );
});

test('a task that kills or stops every worker that has it fails the job after four attempts', async () => {
  for (const kind of ['dies', 'hangs'] as const) {
    const world = new World();
    world.threads.fate = (task) => (task.phase === 'map' && task.task === 2 ? { kind } : DONE);
    expect(await world.run()).toMatchObject({
      outcome: 'failed',
      failure: { phase: 'map', task: 2, attempts: 4 },
    });
  }
});

test('a failure that would repeat itself fails the job at once, and says where', async () => {
  const world = new World();
  const failure = { message: 'no', file: 'in/003', offset: 7, deterministic: true };
  world.threads.fate = (task) => (task.task === 3 ? { kind: 'fails', failure } : DONE);
  expect(await world.run()).toMatchObject({ outcome: 'failed', failure: { attempts: 1, failure } });
});

test('a job that is cancelled ends when its threads have', async () => {
  for (const atMs of [0, 1, 15, 25, 33, 61]) {
    const world = new World({ files: 6 });
    world.scheduler.at(atMs, undefined, () => world.job.cancel(), true);
    expect(await world.run()).toEqual({ outcome: 'cancelled' });
    expect(world.scheduler.nowMs).toBeLessThan(atMs + 20);
  }
  const world = new World();
  world.job.cancel();
  expect(await world.run()).toEqual({ outcome: 'cancelled' });
  expect(world.threads.started).toBe(0);
});

test('whatever the workers do, the output is right, or the job fails with a reason (random histories)', async () => {
  const seen = { done: 0, failed: 0 };
  for (let seed = 1; seed <= 150; seed++) {
    const random = new SimRandom(seed);
    const shape = {
      ...{ files: random.below(12), reducers: 1 + random.below(6), workers: 1 + random.below(5) },
      splitBytes: random.pick([5, 20, 1000]),
    };
    const world = new World(shape);
    const trouble = random.pick([0, 0.1, 0.4]);
    world.threads.fate = () => {
      if (random.fraction() >= trouble) return { kind: 'done', afterMs: random.pick([1, 10, 100, 3000]) };
      return random.pick<Fate>([{ kind: 'dies' }, { kind: 'hangs' }, { kind: 'fails', failure: FAILURE }]);
    };
    const outcome = await world.run();
    if (outcome.outcome === 'done') await world.expectRight(outcome);
    seen[outcome.outcome === 'done' ? 'done' : 'failed']++;
  }
  expect(seen.done).toBeGreaterThan(100);
  expect(seen.failed).toBeGreaterThan(0);
});

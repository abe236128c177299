/** Jobs from request to output, in virtual time and with files in memory. */
import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../src/lib/errors.ts';
import { type JobRequest, JobRun, type JobWorld, type RunOutcome } from '../../src/mapreduce/job-run.ts';
import { SimClock } from '../sim/clock.ts';
import { SimRandom } from '../sim/random.ts';
import { type Life, Scheduler } from '../sim/scheduler.ts';
import { MemoryFiles } from './memory-files.ts';
import { wordCount } from './naive-task.ts';
import { settled } from './settled.ts';
import { SimThreads } from './sim-threads.ts';

const REQUEST: JobRequest = {
  ...{ job: { kind: 'builtin', name: 'wc' }, args: {}, inputs: ['in'], reducers: 2, workers: 2 },
  ...{
    memoryBytes: 1 << 20,
    splitBytes: 9,
    sequential: false,
    output: { kind: 'stream', by: 'key', top: undefined },
  },
};
const TEXTS = ['a dog and a cat', 'and the dog'];
const INTO_OUT = { kind: 'directory', path: 'out', force: false } as const;

class World {
  readonly scheduler = new Scheduler();
  readonly files = new MemoryFiles();
  readonly threads = new SimThreads(this.scheduler, this.files);
  standardInput: string | Uint8Array | undefined;
  output = '';
  blocksMax = Number.POSITIVE_INFINITY;
  begun = false;

  constructor() {
    TEXTS.forEach((text, i) => {
      this.files.put(`in/${i}`, Buffer.from(text));
    });
  }

  job(request: Partial<JobRequest> = {}): JobRun {
    const life: Life = { alive: true, paused: false, held: [] };
    const world: JobWorld = {
      ...{ files: this.files, threads: this.threads },
      clock: new SimClock(this.scheduler, life, { rate: 1, wallSkewMs: 0 }, new SimRandom(1)),
      recordsOf: async () => 'lines',
      makeTemporary: () => {
        this.begun = true;
        return 'tmp';
      },
      spoolInput: (path) => {
        if (this.standardInput === undefined) return new Promise(() => {});
        this.files.put(
          path,
          typeof this.standardInput === 'string' ? Buffer.from(this.standardInput) : this.standardInput,
        );
        return Promise.resolve();
      },
      write: async (block) => {
        if (this.blocksMax-- <= 0) return false;
        this.output += Buffer.from(block).toString();
        return true;
      },
    };
    return new JobRun({ ...REQUEST, ...request }, world);
  }

  /** Nothing but the input and the output is left. */
  async finish(job: JobRun): Promise<RunOutcome> {
    const outcome = await this.#settle(job);
    expect(this.files.paths.filter((path) => path.startsWith('tmp'))).toEqual([]);
    expect(this.threads.alive).toBe(0);
    return outcome;
  }

  #settle(job: JobRun): Promise<RunOutcome> {
    return settled(this.scheduler, job.run());
  }

  text(path: string): string {
    return Buffer.from(this.files.content(path) ?? []).toString();
  }
}

test('the result goes to standard output, in one piece and in order, and nothing else is left', async () => {
  const world = new World();
  const outcome = await world.finish(world.job());
  expect(world.output).toBe(wordCount(TEXTS));
  expect(outcome).toEqual({
    ...{ outcome: 'done', maps: 4, reduces: 2, bytes: TEXTS.join('').length },
    counters: { words: 8, keys: 5 },
  });
});

test('there are as many reduce tasks as workers, and as many workers as the input is worth', async () => {
  const world = new World();
  const outcome = await world.finish(world.job({ reducers: undefined, workers: undefined }));
  expect(outcome).toMatchObject({ reduces: 1 });
  expect(world.threads.mostAlive).toBe(1);
  expect(await world.finish(world.job({ reducers: undefined, workers: 3 }))).toMatchObject({ reduces: 3 });
});

test('standard input is read where it stands among the inputs', async () => {
  const world = new World();
  const words = 'standard words';
  world.standardInput = words;
  await world.finish(world.job({ inputs: ['in/1', '-', 'in/0'] }));
  expect(world.output).toBe(wordCount([...TEXTS, words]));
  const paths = world.threads.attempts.flatMap((task) =>
    task.phase === 'map' && task.split.kind === 'range'
      ? [[task.task, task.split.name ?? task.split.path]]
      : [],
  );
  expect(paths.sort().map(([, name]) => name)).toEqual(['in/1', 'in/1', '-', '-', 'in/0', 'in/0']);
});

test('lines that grep finds have the names of their files in front where there are several, unless told otherwise', async () => {
  const world = new World();
  const seen: (string | undefined)[] = [];
  world.threads.onSpec = ({ args }) => seen.push(args['with-filename']);
  const grep = { job: { kind: 'builtin', name: 'grep' }, workers: 1 } as const;
  await world.finish(world.job({ ...grep }));
  await world.finish(world.job({ ...grep, inputs: ['in/0'] }));
  await world.finish(world.job({ ...grep, args: { 'with-filename': 'no' } }));
  expect(seen).toEqual(['yes', undefined, 'no']);
});

test('standard input that is compressed is one split, to be unpacked', async () => {
  const world = new World();
  world.standardInput = Buffer.from([0x1f, 0x8b, ...Buffer.from('longer than a split')]);
  await world.finish(world.job({ inputs: ['-'] }));
  expect(world.threads.attempts.filter(({ phase }) => phase === 'map')).toMatchObject([
    { split: { kind: 'gzip', name: '-' } },
  ]);
});

test('an empty input has an empty output', async () => {
  const world = new World();
  world.standardInput = '';
  expect(await world.finish(world.job({ inputs: ['-'] }))).toMatchObject({ outcome: 'done', maps: 0 });
  expect(world.output).toBe('');
});

test('a job whose result nobody wants to read to its end is done', async () => {
  const world = new World();
  world.blocksMax = 0;
  expect(await world.finish(world.job())).toMatchObject({ outcome: 'done' });
});

describe('an output directory', () => {
  test('has one part per reduce task, and _SUCCESS with what was counted', async () => {
    const world = new World();
    await world.finish(world.job({ output: INTO_OUT, reducers: 3 }));
    expect(world.files.paths.filter((path) => path.startsWith('out'))).toEqual([
      ...['out/_SUCCESS', 'out/part-r-00000', 'out/part-r-00001', 'out/part-r-00002'],
    ]);
    expect(JSON.parse(world.text('out/_SUCCESS'))).toEqual({
      ...{ job: 'wc', reduces: 3, counters: { words: 8, keys: 5 } },
    });
    const lines = [0, 1, 2].map((i) => world.text(`out/part-r-0000${i}`)).join('');
    expect(lines.split('\n').sort()).toEqual(wordCount(TEXTS).split('\n').sort());
    expect(world.output).toBe('');
  });

  test('that holds something is refused before any work, and replaced as a whole where that is wanted', async () => {
    const world = new World();
    world.files.put('out/mine', Buffer.from('x'));
    await expect(world.finish(world.job({ output: INTO_OUT }))).rejects.toThrow('out is not empty');
    expect(world.begun).toBe(false);
    await world.finish(world.job({ output: { ...INTO_OUT, force: true } }));
    expect(world.text('out/mine')).toBe('');
    expect(world.files.paths).toContain('out/_SUCCESS');
  });

  test('that somebody else has filled meanwhile is left as it is', async () => {
    const world = new World();
    world.scheduler.after(30, undefined, () => world.files.put('out/theirs', Buffer.from('x')));
    await expect(world.finish(world.job({ output: INTO_OUT }))).rejects.toThrow('out is not empty');
    expect(world.files.paths.filter((path) => path.startsWith('out'))).toEqual(['out/theirs']);
  });

  test('that is a file is refused', async () => {
    const world = new World();
    world.files.put('out', Buffer.from('x'));
    await expect(world.finish(world.job({ output: INTO_OUT }))).rejects.toThrow(
      new ConfigError('out is not a directory'),
    );
  });
});

test('what is wrong with the input is said before any work', async () => {
  const world = new World();
  await expect(world.finish(world.job({ inputs: ['in', 'nope'] }))).rejects.toThrow(ConfigError);
  expect([world.begun, world.threads.started]).toEqual([false, 0]);
});

test('a job that is cancelled leaves nothing behind, whenever that is; too late it is done as a whole', async () => {
  const outcomes = new Set<string>();
  for (let atMs = 0; atMs < 100; atMs++) {
    const world = new World();
    const job = world.job({ output: INTO_OUT });
    world.scheduler.at(atMs, undefined, () => job.cancel(), true);
    const { outcome } = await world.finish(job);
    outcomes.add(outcome);
    const left = world.files.paths.filter((path) => !path.startsWith('in/'));
    expect(left).toEqual(
      outcome === 'cancelled' ? [] : ['out/_SUCCESS', 'out/part-r-00000', 'out/part-r-00001'],
    );
  }
  expect([...outcomes]).toEqual(['cancelled', 'done']);
});

test('a job can be cancelled while it waits for standard input', async () => {
  const world = new World();
  const job = world.job({ inputs: ['-'] });
  world.scheduler.at(5, undefined, () => job.cancel(), true);
  expect(await world.finish(job)).toEqual({ outcome: 'cancelled' });
  expect(world.threads.started).toBe(0);
});

test('a job that fails leaves nothing behind', async () => {
  const world = new World();
  const failure = { message: 'no', deterministic: true };
  world.threads.fate = () => ({ kind: 'fails', failure });
  const outcome = await world.finish(world.job({ output: INTO_OUT }));
  expect(outcome).toMatchObject({ outcome: 'failed', failure: { failure } });
  expect(world.files.paths).toEqual(['in/0', 'in/1']);
});

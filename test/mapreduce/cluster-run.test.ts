/** Jobs across servers, from request to output, in virtual time: what is asked of the servers, and what is made of it. */
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import {
  type ClusterOutcome,
  type ClusterRequest,
  ClusterRun,
  type ClusterWorld,
} from '../../src/mapreduce/cluster-run.ts';
import { SimClock } from '../sim/clock.ts';
import { SimRandom } from '../sim/random.ts';
import { type Life, Scheduler } from '../sim/scheduler.ts';
import { FakeServers } from './fake-servers.ts';
import { MemoryFiles } from './memory-files.ts';
import { settled } from './settled.ts';

const REQUEST: ClusterRequest = {
  ...{ job: { kind: 'builtin', name: 'wc' }, args: {}, inputs: ['a', 'b*'], keys: undefined },
  ...{ reducers: undefined, memoryBytes: 65_536, splitBytes: undefined },
  output: { kind: 'stream', by: 'key', top: undefined },
};
const INTO_OUT = { kind: 'directory', path: '/out', force: false } as const;
const PARTS = [
  [
    ['ant', 1],
    ['cat', 3],
  ],
  [],
  [
    ['bee', 2],
    ['dog', 1],
    ['eel', 20],
  ],
] as const;
const SILENCE = { told: 'nothing', message: 'connect ECONNREFUSED' } as const;

class World {
  readonly scheduler = new Scheduler();
  readonly files = new MemoryFiles();
  readonly servers = new FakeServers(this.scheduler);
  standardInput: Uint8Array | undefined;
  output = '';
  blocksMax = Number.POSITIVE_INFINITY;
  connects = true;

  constructor() {
    this.servers.parts = PARTS;
    this.servers.counters = { words: 27, 'distinct words': 5 };
  }

  job(request: Partial<ClusterRequest> = {}): ClusterRun {
    const life: Life = { alive: true, paused: false, held: [] };
    const world: ClusterWorld = {
      files: this.files,
      clock: new SimClock(this.scheduler, life, { rate: 1, wallSkewMs: 0 }, new SimRandom(1)),
      random: new SimRandom(2),
      workingDirectory: '/home',
      connect: async () => (this.connects ? this.servers : new Promise(() => {})),
      makeTemporary: () => '/tmp/job',
      spoolInput: async (path) => {
        if (this.standardInput === undefined) return new Promise(() => {});
        this.files.put(path, this.standardInput);
      },
      write: async (block) => {
        if (this.blocksMax-- <= 0) return false;
        this.output += Buffer.from(block).toString();
        return true;
      },
    };
    return new ClusterRun({ ...REQUEST, ...request }, world);
  }

  /** Nothing temporary is left. */
  async finish(job: ClusterRun): Promise<ClusterOutcome> {
    try {
      return await settled(this.scheduler, job.run());
    } finally {
      expect(this.files.paths.filter((path) => path.startsWith('/tmp'))).toEqual([]);
    }
  }

  text(path: string): string {
    return Buffer.from(this.files.content(path) ?? []).toString();
  }

  get submitted(): string {
    return this.servers.asked.find(([command]) => command === 'MR.SUBMIT')!.join(' ');
  }
}

const DONE = {
  ...{ outcome: 'done', maps: 4, reduces: 3, bytes: 1000 },
  counters: { words: 27, 'distinct words': 5 },
};

test('the result is brought here in chunks, merged in the order of its keys, and forgotten by the servers', async () => {
  const world = new World();
  expect(await world.finish(world.job())).toEqual(DONE);
  expect(world.output).toBe('ant: 1\nbee: 2\ncat: 3\ndog: 1\neel: 20\n');
  expect(world.servers.commands).toEqual(['MR.SUBMIT', 'MR.STATUS', 'MR.RESULT', 'MR.PURGE']);
  expect(world.servers.closed).toBe(true);
});

test('of many chunks few are under way at a time', async () => {
  const world = new World();
  world.servers.parts = Array.from({ length: 50 }, (_, i) => [[`key-that-is-longer-${i}`, i]] as const);
  await world.finish(world.job());
  expect(world.output.split('\n')).toHaveLength(51);
  expect(world.servers.chunksUnderWayMax).toBe(4);
});

test('the largest counts come first, and no more of them than wanted', async () => {
  const world = new World();
  await world.finish(world.job({ output: { kind: 'stream', by: 'count', top: 2 } }));
  expect(world.output).toBe('eel: 20\ncat: 3\n');
});

test('an output directory has the lines of each part, and _SUCCESS as a local job writes it', async () => {
  const world = new World();
  await world.finish(world.job({ output: INTO_OUT }));
  expect(world.text('/out/part-r-00000')).toBe('ant: 1\ncat: 3\n');
  expect(world.text('/out/part-r-00001')).toBe('');
  expect(world.text('/out/part-r-00002')).toBe('bee: 2\ndog: 1\neel: 20\n');
  expect(world.text('/out/_SUCCESS')).toBe(
    '{"job":"wc","reduces":3,"counters":{"distinct words":5,"words":27}}\n',
  );
  expect(world.output).toBe('');
});

test('an output directory that holds something is refused before anything is asked', async () => {
  const world = new World();
  world.files.put('/out/mine', Buffer.from('x'));
  await expect(world.finish(world.job({ output: INTO_OUT }))).rejects.toThrow('/out is not empty');
  expect(world.servers.asked).toEqual([]);
});

test('an output directory that somebody fills meanwhile stays, and the servers keep the result', async () => {
  const world = new World();
  world.scheduler.after(50, undefined, () => world.files.put('/out/theirs', Buffer.from('x')));
  await expect(world.finish(world.job({ output: INTO_OUT }))).rejects.toThrow(
    /is not empty.*; the servers keep the result: redis-cli MR\.RESULT 7 .*MR\.PURGE 7/,
  );
  expect(world.servers.commands).not.toContain('MR.PURGE');
});

test('a result that becomes keys is not brought here', async () => {
  const world = new World();
  expect(await world.finish(world.job({ output: { kind: 'keys', prefix: 'n:' } }))).toEqual(DONE);
  expect(world.submitted).toContain(' OUT KEYS n: ');
  expect(world.servers.commands).toEqual(['MR.SUBMIT', 'MR.STATUS', 'MR.PURGE']);
});

describe('a submission', () => {
  const TOKEN = / TOKEN [0-9a-f]{32}/;

  test.each<[Partial<ClusterRequest>, string]>([
    [{}, 'MR.SUBMIT wc FILES 2 a b* CWD /home MEMORY 65536'],
    [{ inputs: [], keys: 'p:*' }, 'MR.SUBMIT wc KEYS p:* MEMORY 65536'],
    [
      { reducers: 3, splitBytes: 4096, args: { 'ignore-case': 'yes' } },
      'MR.SUBMIT wc FILES 2 a b* CWD /home REDUCES 3 ARGS 1 ignore-case yes MEMORY 65536 SPLIT 4096',
    ],
    [
      { job: { kind: 'module', path: '/home/me/job.js', sha256: 'abc' } },
      'MR.SUBMIT job.js FILES 2 a b* CWD /home MEMORY 65536 SHA256 abc',
    ],
  ])('of %j has these words, and a token', async (request, words) => {
    const world = new World();
    await world.finish(world.job(request));
    expect(world.submitted).toMatch(TOKEN);
    expect(world.submitted.replace(TOKEN, '')).toBe(words);
  });

  test('that is refused is a mistake of usage; what else is wrong is not', async () => {
    const answers = [
      [
        { told: 'error', message: 'ERR there is no file a' },
        { name: 'ConfigError', message: 'there is no file a' },
      ],
      [
        { told: 'error', message: 'MISCONF full' },
        { name: 'ServersError', message: 'MISCONF full' },
      ],
      [SILENCE, { name: 'ServersError', message: expect.stringMatching(/ECONNREFUSED; redis-cli MR\.LIST/) }],
    ] as const;
    for (const [told, error] of answers) {
      const world = new World();
      world.servers.answer = () => told;
      await expect(world.finish(world.job())).rejects.toMatchObject(error);
    }
  });
});

describe('standard input', () => {
  test('alone is a file that is called what records are to call it', async () => {
    const world = new World();
    let spooled = '';
    world.servers.answer = () => {
      spooled ||= world.text('/tmp/job/-');
      return undefined;
    };
    world.standardInput = Buffer.from('some text');
    await world.finish(world.job({ inputs: ['-'] }));
    expect(world.submitted).toContain(' FILES 1 - CWD /tmp/job ');
    expect(spooled).toBe('some text');
  });

  test('among files has its path', async () => {
    const world = new World();
    world.standardInput = Buffer.from('');
    await world.finish(world.job({ inputs: ['a', '-'] }));
    expect(world.submitted).toContain(' FILES 2 a /tmp/job/- CWD /home ');
  });

  test('that is compressed is unpacked; damaged, it is refused', async () => {
    const text = 'some text, '.repeat(50_000);
    const world = new World();
    let spooled = '';
    world.servers.answer = () => {
      spooled ||= world.text('/tmp/job/-');
      return undefined;
    };
    world.standardInput = gzipSync(text);
    await world.finish(world.job({ inputs: ['-'] }));
    expect(spooled).toBe(text);
    world.standardInput = gzipSync(text).subarray(0, -9);
    await expect(world.finish(world.job({ inputs: ['-'] }))).rejects.toThrow(/^standard input: /);
  });

  test('cannot be read by servers elsewhere', async () => {
    const world = new World();
    world.servers.local = false;
    await expect(world.finish(world.job({ inputs: ['-'] }))).rejects.toThrow(
      /^the servers are on other machines/,
    );
    expect(world.servers.asked).toEqual([]);
  });
});

describe('a job', () => {
  test('tells how far it has come', async () => {
    const world = new World();
    const job = world.job();
    let progress: unknown;
    world.scheduler.at(90, undefined, () => {
      progress = job.progress;
    });
    await world.finish(job);
    expect(progress).toEqual({
      ...{ phase: 'map', maps: { done: 1, of: 4 }, reduces: { done: 0, of: 3 } },
      bytes: { done: 250, of: 1000 },
    });
  });

  test('that fails says why, and stays with the servers', async () => {
    const world = new World();
    const place = { 'error-file': 'a', 'error-offset': 5, 'error-phase': 'map' };
    world.servers.end = { state: 'failed', error: 'no', ...place, 'error-task': 2, 'error-attempts': 4 };
    expect(await world.finish(world.job())).toEqual({
      outcome: 'failed',
      failure: { phase: 'map', task: 2, attempts: 4, failure: { message: 'no', file: 'a', offset: 5 } },
    });
    world.servers.end = { state: 'failed', error: 'the result is too large' };
    expect(await world.finish(world.job())).toEqual({
      ...{ outcome: 'failed', failure: { message: 'the result is too large' } },
    });
    world.servers.end = { state: 'cancelled' };
    expect(await world.finish(world.job())).toEqual({
      ...{ outcome: 'failed', failure: { message: 'job 7 was cancelled by somebody else' } },
    });
    expect(world.servers.commands).not.toContain('MR.PURGE');
  });

  test('goes on when no server answers any more, and that is said', async () => {
    const world = new World();
    world.servers.answer = ([command]) => (command === 'MR.STATUS' ? SILENCE : undefined);
    await expect(world.finish(world.job())).rejects.toMatchObject({
      name: 'ServersError',
      message: expect.stringMatching(/ECONNREFUSED; job 7 goes on .*MR\.STATUS 7 .*MR\.CANCEL 7/),
    });
  });

  test('whose state makes no sense ends with an error', async () => {
    for (const reply of [null, [Buffer.from('state')], [Buffer.from('maps'), Buffer.from('x')], []]) {
      const world = new World();
      world.servers.answer = ([command]) => (command === 'MR.STATUS' ? { told: 'reply', reply } : undefined);
      await expect(world.finish(world.job())).rejects.toThrow(/^the answer to MR\.STATUS makes no sense/);
    }
  });

  test('whose result nobody wants to read to its end is done', async () => {
    const world = new World();
    world.blocksMax = 0;
    expect(await world.finish(world.job())).toEqual(DONE);
    expect(world.servers.commands.at(-1)).toBe('MR.PURGE');
  });

  test('whose result is lost on the way leaves nothing here', async () => {
    const world = new World();
    world.servers.answer = ([command, , , part]) =>
      command === 'MR.RESULT' && part === 2 ? SILENCE : undefined;
    await expect(world.finish(world.job({ output: INTO_OUT }))).rejects.toThrow(
      /ECONNREFUSED; the servers keep the result/,
    );
    expect(world.files.paths).toEqual([]);
  });
});

describe('a job that is cancelled', () => {
  test('is cancelled in the cluster too and forgotten there, whenever that is; too late it is done', async () => {
    const outcomes = new Set<string>();
    for (let atMs = 0; atMs < 250; atMs++) {
      const world = new World();
      const job = world.job({ output: INTO_OUT });
      world.scheduler.at(atMs, undefined, () => job.cancel(), true);
      const outcome = await world.finish(job);
      outcomes.add(outcome.outcome);
      if (outcome.outcome === 'done') expect(world.files.paths).toContain('/out/_SUCCESS');
      else expect([outcome, world.files.paths]).toEqual([{ outcome: 'cancelled' }, []]);
      const { commands } = world.servers;
      if (commands.length > 0) expect(commands.at(-1)).toBe('MR.PURGE');
    }
    expect([...outcomes]).toEqual(['cancelled', 'done']);
  });

  test('before it was submitted was never there', async () => {
    const reaching = new World();
    reaching.connects = false;
    const reading = new World();
    for (const [world, inputs] of [
      [reaching, ['a']],
      [reading, ['-']],
    ] as const) {
      const job = world.job({ inputs });
      world.scheduler.at(5, undefined, () => job.cancel(), true);
      expect(await world.finish(job)).toEqual({ outcome: 'cancelled' });
      expect(world.servers.asked).toEqual([]);
    }
  });

  test('without an answer may go on, which is said, some seconds later', async () => {
    for (const [silent, note] of [
      ['MR.CANCEL', 'no server has answered, and job 7 may go on: redis-cli MR.CANCEL 7 ends it'],
      ['MR.SUBMIT', 'whether the job was submitted is not known: redis-cli MR.LIST shows it'],
    ] as const) {
      const world = new World();
      world.servers.answer = ([command]) => (command === silent ? 'silence' : undefined);
      const job = world.job();
      world.scheduler.at(20, undefined, () => job.cancel(), true);
      expect(await world.finish(job)).toEqual({ outcome: 'cancelled', note });
      expect(world.scheduler.nowMs).toBeGreaterThan(5000);
      expect(world.scheduler.nowMs).toBeLessThan(5100);
    }
  });
});

/** The simulated disk: it does what every disk does, and its faults are those that a real one has. */
import { describe, expect, test } from 'vitest';
import { diskConformance } from '../io/disk-conformance.ts';
import { SimDisk } from './disk.ts';
import { SimRandom } from './random.ts';
import { type Life, Scheduler } from './scheduler.ts';

const alive = (): Life => ({ alive: true, paused: false, held: [] });

class DiskWorld {
  readonly scheduler = new Scheduler();
  readonly sim: SimDisk;
  life = alive();

  constructor(seed = 1) {
    this.sim = new SimDisk(this.scheduler, new SimRandom(seed));
  }

  get disk() {
    return this.sim.open(this.life);
  }

  async until<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const settle = () => {
      settled = true;
    };
    promise.then(settle, settle);
    await new Promise((resolve) => setImmediate(resolve));
    if (!settled) await this.scheduler.run(this.scheduler.nowMs + 10_000, () => settled);
    return promise;
  }

  /** The power fails, before anything that was just begun has come to its end. */
  crash(): void {
    this.life.alive = false;
    this.sim.crash();
    this.life = alive();
  }
}

diskConformance('The simulation', async () => {
  const world = new DiskWorld();
  await world.until(world.disk.makeDirectory('directory'));
  return {
    disk: world.disk,
    directory: 'directory',
    until: (promise) => world.until(promise),
    end: async () => {},
  };
});

describe('a power loss', () => {
  /** What `begin` can leave behind, over many seeds: name and content of every file. */
  async function outcomes(begin: (world: DiskWorld) => Promise<unknown>): Promise<string[]> {
    const seen = new Set<string>();
    for (let seed = 1; seed <= 100; seed++) {
      const world = new DiskWorld(seed);
      await world.until(world.disk.makeDirectory('d'));
      await world.until(world.disk.replaceFile('d/old', Buffer.from('old')));
      void begin(world);
      world.crash();
      const files = [...world.sim.files].map(([path, content]) => `${path}=${Buffer.from(content)}`);
      seen.add(files.sort().join(' '));
    }
    return [...seen].sort();
  }

  test('leaves a file removed or not', async () => {
    expect(await outcomes((world) => world.disk.removeFile('d/old'))).toEqual(['', 'd/old=old']);
  });

  test('leaves a file replaced or not, and some of the new one under its temporary name', async () => {
    const left = await outcomes((world) => world.disk.replaceFile('d/old', Buffer.from('ab')));
    expect(left).toEqual([
      ...['d/old.tmp= d/old=old', 'd/old.tmp=a d/old=old', 'd/old.tmp=ab d/old=old'],
      ...['d/old=ab', 'd/old=old'],
    ]);
  });

  test('never leaves a log file short under its own name', async () => {
    const left = await outcomes((world) => world.disk.createLogFile('d/new', 2));
    expect(left).toContain('d/new=\0\0 d/old=old');
    expect(left).toContain('d/new.tmp=\0 d/old=old');
    expect(left).toContain('d/old=old');
    expect(left.filter((files) => /d\/new=\0? /.test(files))).toEqual([]);
  });

  test('leaves any sectors of a write, and sectors torn', async () => {
    const shapes = new Set<string>();
    for (let seed = 1; seed <= 200; seed++) {
      const world = new DiskWorld(seed);
      await world.until(world.disk.makeDirectory('d'));
      const file = await world.until(world.disk.createLogFile('d/log', 1536));
      file.write(0, [Buffer.alloc(1536, 1)], () => {});
      world.crash();
      const content = world.sim.files.get('d/log')!;
      const written = [0, 512, 1024].map((at) => content.subarray(at, at + 512).filter((byte) => byte === 1));
      shapes.add(written.map(({ length }) => (length === 512 ? 'w' : length > 0 ? 't' : '-')).join(''));
    }
    for (const shape of ['---', 'www', 'w--', '-w-', '--w', 'w-w']) expect(shapes).toContain(shape);
    expect([...shapes].join()).toContain('t');
  });
});

test('a bad read is of the moment: the next one of the file is good, and rot is there for good', async () => {
  const world = new DiskWorld();
  await world.until(world.disk.makeDirectory('d'));
  const truth = Buffer.from('what was written there');
  await world.until(world.disk.replaceFile('d/file', truth));
  for (const fault of ['flipReadChance', 'misdirectReadChance'] as const) {
    world.sim.faults[fault] = 1;
    expect(await world.until(world.disk.readFile('d/file'))).toHaveLength(truth.length);
    expect(Buffer.from((await world.until(world.disk.readFile('d/file')))!)).toEqual(truth);
    world.sim.faults[fault] = 0;
    await world.scheduler.run(world.scheduler.nowMs + 3000);
  }
  expect(world.sim.badReads).toBe(2);
  const hit = world.sim.rot('d/file')!;
  for (let i = 0; i < 3; i++) {
    const read = (await world.until(world.disk.readFile('d/file')))!;
    expect([...read].map((byte, at) => byte === truth[at] || at).filter((at) => at !== true)).toEqual([
      hit.offset,
    ]);
  }
});

/** Data directories of real servers, whole and harmed in every way, as `--check-dir` sees them. */
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Config } from '../../src/config/config.ts';
import { createEnv } from '../../src/io/env.ts';
import { positionOf } from '../../src/kv/position.ts';
import { StoredKeys } from '../../src/kv/stored-keys.ts';
import { crc32 } from '../../src/lib/checksum.ts';
import { ConfigError, InUseError } from '../../src/lib/errors.ts';
import { checkDirectory, type DirectoryReport } from '../../src/server/check-directory.ts';
import { startServer } from '../../src/server/server.ts';
import { makeTemporaryDirectory, temporaryDirectory } from '../io/temporary.ts';
import { takePorts } from '../ports.ts';

const env = createEnv({ log: { level: 'warning' }, tcp: { keepAliveMs: 300_000 } });
/** Of a server that was stopped; the second has written more. */
let one: string;
let other: string;
const made: string[] = [];

async function writtenBy(keys: number): Promise<string> {
  const dir = makeTemporaryDirectory();
  made.push(dir);
  const [port] = await takePorts(1);
  const flags = { dir, port: `${port}`, 'wal-segment-size': '1mb', 'wal-keep-size': '4mb' };
  const config = new Config({ flags: Object.entries(flags), environment: {} });
  const server = await startServer(env, config, {
    version: '1',
    onFatal: (error) => expect.fail(error.message),
  });
  const redis = new Redis(port!, '127.0.0.1');
  const value = (i: number) => `${i}`.repeat(40_000).slice(0, 40_000);
  for (let i = 0; i < keys; i += 10) {
    await Promise.all(Array.from({ length: 10 }, (_, j) => redis.set(`key${i + j}`, value(i + j))));
  }
  redis.disconnect();
  await server.stop();
  return dir;
}

beforeAll(async () => {
  one = await writtenBy(100);
  other = await writtenBy(150);
});

afterAll(() => {
  for (const dir of made) rmSync(dir, { recursive: true });
});

function copyOf(dir: string): string {
  const copy = join(temporaryDirectory(), 'n1');
  cpSync(dir, copy, { recursive: true });
  return copy;
}

const check = (dir: string): Promise<DirectoryReport> => checkDirectory(env, dir);
const texts = async (dir: string) => (await check(dir)).problems.map(({ text }) => text);

function fact({ facts }: DirectoryReport, name: string): string {
  return facts.find(({ of }) => of === name)?.lines.join('\n') ?? 'nothing';
}

function segments(dir: string): string[] {
  return readdirSync(join(dir, 'wal')).map((name) => join(dir, 'wal', name));
}

/** Segments that hold records, the oldest first. */
function written(dir: string): string[] {
  return segments(dir).filter((path) =>
    readFileSync(path)
      .subarray(0, 40)
      .some((byte) => byte !== 0),
  );
}

function edit(path: string, change: (content: Buffer) => void): void {
  const content = readFileSync(path);
  change(content);
  writeFileSync(path, content);
}

test('a directory that is whole is described, and nothing in its log is changed by that', async () => {
  const dir = copyOf(one);
  const sums = () => segments(dir).map((path) => crc32(readFileSync(path)));
  const before = sums();
  const seen: number[] = [];
  const report = await checkDirectory(env, dir, ({ keys }) => seen.push(keys));
  expect(report.problems).toEqual([]);
  expect(fact(report, 'identity')).toMatch(
    /^server n1, id \d+, of cluster [0-9a-f]{40}\nbegan alone\nstage running: it has a log$/,
  );
  expect(fact(report, 'peers')).toBe('has met none');
  expect(fact(report, 'store')).toMatch(
    /^format \d+, generation 0: the state after entry \d+ of term 1\n100 keys, 0 sessions, 3\.8 MB$/,
  );
  expect(fact(report, 'log')).toMatch(
    /^format \d+, \d segments, \d\.0 MB\ngroup 1: entries \d+ to \d+, the last/,
  );
  expect(seen.at(-1)).toBe(100);
  expect(sums()).toEqual(before);
  expect(await texts(dir)).toEqual([]);
});

test('an unfinished write at the end of the log is told as what it is', async () => {
  const dir = copyOf(one);
  const last = written(dir).at(-1)!;
  edit(last, (content) => {
    const end = content.findLastIndex((byte) => byte !== 0);
    content.fill(9, end + 100, end + 200);
  });
  const report = await check(dir);
  expect(report.problems).toEqual([]);
  expect(fact(report, 'log')).toContain(`an unfinished write in ${last} at byte `);
  expect(fact(report, 'log')).toContain('no damage');
});

test('a flipped byte in the log is a problem with file, place, and what to do', async () => {
  const dir = copyOf(one);
  const [first] = written(dir);
  edit(first!, (content) => {
    content[500_000]! ^= 1;
  });
  const { problems } = await check(dir);
  expect(problems).toHaveLength(1);
  expect(problems[0]!.text).toMatch(/\/wal\/\d+\.wal is damaged at byte \d+: record \d+ is not readable/);
  expect(problems[0]!.text).not.toContain('--join');
  expect(problems[0]!.advice).toMatch(/CLUSTER FORGET .* --join; a server alone .* backup$/);
});

test('segments that are missing are problems: in the middle, at the end, all', async () => {
  const without = async (remove: (paths: string[]) => string[]) => {
    const dir = copyOf(other);
    for (const path of remove(written(dir))) rmSync(path);
    return texts(dir);
  };
  expect(await without(([, second]) => [second!])).toEqual([
    expect.stringMatching(/^the segment between .*\.wal and .*\.wal is missing$/),
  ]);
  expect(await without((paths) => paths.slice(1))).toEqual([
    expect.stringMatching(/^group 1: the log ends at \d+, but the store holds the state after entry \d+/),
  ]);
  const empty = copyOf(one);
  rmSync(join(empty, 'wal'), { recursive: true });
  expect(await texts(empty)).toEqual([`${empty}/wal is missing or empty: the log was removed or lost`]);
});

test('an identity that is damaged, missing or of another version is a problem, and the rest is looked at', async () => {
  const dir = copyOf(one);
  const path = join(dir, 'identity');
  const before = readFileSync(path, 'utf8');
  writeFileSync(path, before.replace('name n1', 'name n2'));
  const report = await check(dir);
  expect(report.problems).toEqual([
    { text: `${path} is damaged`, advice: expect.stringContaining('put it back from a backup') },
  ]);
  expect(fact(report, 'store')).toContain('100 keys');
  writeFileSync(path, before.replace('format 2', 'format 3'));
  expect(await texts(dir)).toEqual([`${path} has format 3, and this hstore knows formats up to 2`]);
  rmSync(path);
  expect(await texts(dir)).toEqual([`${path} is missing`]);
});

test('a damaged list of peers is a problem', async () => {
  const dir = copyOf(one);
  writeFileSync(join(dir, 'peers'), 'hstore peers, format 1\n7 8\nchecksum 0\n');
  expect(await texts(dir)).toEqual([`${dir}/peers is damaged`]);
});

test('a value that was changed in the store is a problem that names the key', async () => {
  const dir = copyOf(one);
  const store = await env.stores.open(join(dir, 'store'));
  const key = new StoredKeys({ group: 1, generation: 0 }, 0).data('key7', positionOf('key7'));
  const value = await new Promise<Uint8Array>((resolve) => {
    store.getMany([key], (_, values) => resolve(Uint8Array.from(values[0]!)));
  });
  value[value.length - 10]! ^= 1;
  const batch = store.batch();
  batch.put(key, value);
  await new Promise<void>((resolve) => batch.write(() => resolve()));
  await store.close();
  const found = await texts(dir);
  expect(found[0]).toContain(`${dir}/store: `);
  expect(found[0]).toContain('key7');
});

test('a file that the store has lost is a problem, and so is the whole store', async () => {
  const dir = copyOf(one);
  for (const name of readdirSync(join(dir, 'store'))) {
    if (/^MANIFEST/.test(name)) rmSync(join(dir, 'store', name));
  }
  expect((await texts(dir))[0]).toMatch(/^the store .* is (incomplete|damaged)/);
  rmSync(join(dir, 'store'), { recursive: true });
  expect(await texts(dir)).toEqual([`${dir}/store is missing or empty: the store was removed or lost`]);
  expect(readdirSync(dir)).not.toContain('store');
});

test('the log of one server and the store of another do not belong together', async () => {
  const dir = copyOf(one);
  rmSync(join(dir, 'store'), { recursive: true });
  cpSync(join(other, 'store'), join(dir, 'store'), { recursive: true });
  expect(await texts(dir)).toEqual([expect.stringMatching(/one of the two is of another time or place/)]);
});

test('a log that begins where the store has not come is a problem', async () => {
  const dir = copyOf(other);
  for (const path of written(dir).slice(0, -1)) rmSync(path);
  rmSync(join(dir, 'store'), { recursive: true });
  cpSync(join(one, 'store'), join(dir, 'store'), { recursive: true });
  expect(await texts(dir)).toEqual([
    expect.stringMatching(
      /^group 1: the log begins behind entry \d+, but the store holds the state after entry \d+: segments/,
    ),
  ]);
});

test('a server that was removed is described as such', async () => {
  const dir = copyOf(one);
  const path = join(dir, 'identity');
  const body = readFileSync(path, 'utf8')
    .replace('stage running', 'stage removed')
    .replace(/checksum .*\n/, '');
  const sum = crc32(new TextEncoder().encode(body)).toString(16).padStart(8, '0');
  writeFileSync(path, `${body}checksum ${sum}\n`);
  const report = await check(dir);
  expect(report.problems).toEqual([]);
  expect(fact(report, 'identity')).toContain('removed from its cluster: it will not start again');
});

test('a directory that holds nothing of hstore, or is not there, is refused, and nothing is made in it', async () => {
  const dir = temporaryDirectory();
  mkdirSync(join(dir, 'photos'));
  await expect(check(dir)).rejects.toThrow(
    new ConfigError(`the directory ${dir} holds no data of hstore: name a server's --dir`),
  );
  expect(readdirSync(dir)).toEqual(['photos']);
  await expect(check(join(dir, 'nowhere'))).rejects.toThrow(ConfigError);
});

test('a directory that a server uses is refused', async () => {
  const dir = copyOf(one);
  const store = await env.stores.open(join(dir, 'store'));
  await expect(check(dir)).rejects.toThrow(
    new InUseError(`the data directory ${dir} is in use by a running server`),
  );
  await store.close();
  renameSync(dir, `${dir}-moved`);
  expect(await texts(`${dir}-moved`)).toEqual([]);
});

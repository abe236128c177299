import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, onTestFinished, test } from 'vitest';
import { SystemDisk } from '../../src/io/disk.ts';
import { type Level, LevelStore, LevelStores } from '../../src/io/level.ts';
import type { Store } from '../../src/lib/env.ts';
import { CorruptionError, DiskFullError, InUseError } from '../../src/lib/errors.ts';
import { getMany, range, storeConformance, writeBatch } from './store-conformance.ts';
import { makeTemporaryDirectory, temporaryDirectory } from './temporary.ts';

storeConformance('classic-level', async () => {
  const directory = makeTemporaryDirectory();
  return {
    stores: new LevelStores(new SystemDisk()),
    path: join(directory, 'a', 'store'),
    until: (promise) => promise,
    end: async () => rmSync(directory, { recursive: true }),
  };
});

function openStore(path: string): Promise<Store> {
  return new LevelStores(new SystemDisk()).open(path);
}

function fileOf(path: string, ending: string): string {
  const name = readdirSync(path).find((file) => file.endsWith(ending) || file.startsWith(ending));
  expect(name).toBeDefined();
  return join(path, name!);
}

async function storeWithKeys(path: string, count: number): Promise<void> {
  const store = await openStore(path);
  for (let i = 0; i < count; i++) await writeBatch(store, { [`key${i}`]: 'v'.repeat(100) });
  await store.close();
}

test('a store that another process holds is in use, and free again when that process is killed', async () => {
  const path = temporaryDirectory();
  const holder = await holdStore(path);
  await expect(openStore(path)).rejects.toThrow('in use by another process');
  await expect(openStore(path)).rejects.toBeInstanceOf(InUseError);
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  const store = await openStore(path);
  expect(await getMany(store, ['held'])).toEqual(['yes']);
  await store.close();
});

async function holdStore(path: string): Promise<ChildProcess> {
  const script = `
    const { ClassicLevel } = require(${JSON.stringify(createRequire(import.meta.url).resolve('classic-level'))});
    const level = new ClassicLevel(process.argv[1]);
    level.put('held', 'yes', { sync: true }).then(() => console.log('ready'));
    setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ['-e', script, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void holder.kill('SIGKILL'));
  await once(holder.stdout, 'data');
  return holder;
}

test('a byte flipped in the middle of the log is refused, and again at the next attempt', async () => {
  const path = temporaryDirectory();
  await storeWithKeys(path, 20);
  const log = fileOf(path, '.log');
  const content = readFileSync(log);
  content[content.indexOf('key10')]! ^= 0xff;
  writeFileSync(log, content);
  await expect(openStore(path)).rejects.toBeInstanceOf(CorruptionError);
  await expect(openStore(path)).rejects.toThrow('checksum mismatch');
  await expect(openStore(path)).rejects.toBeInstanceOf(CorruptionError);
});

test('a last record that a crash cut off is left out, and what was before it is there', async () => {
  const path = temporaryDirectory();
  await storeWithKeys(path, 3);
  const log = fileOf(path, '.log');
  const content = readFileSync(log);
  writeFileSync(log, content.subarray(0, content.length - 50));
  const store = await openStore(path);
  expect(await range(store, '', 'z')).toHaveLength(2);
  await store.close();
});

test('a damaged or missing manifest is corruption', async () => {
  const path = temporaryDirectory();
  await storeWithKeys(path, 3);
  const manifest = fileOf(path, 'MANIFEST');
  const content = readFileSync(manifest);
  content[10]! ^= 0xff;
  writeFileSync(manifest, content);
  await expect(openStore(path)).rejects.toBeInstanceOf(CorruptionError);
  rmSync(manifest);
  await expect(openStore(path)).rejects.toBeInstanceOf(CorruptionError);
});

/**
 * classic-level whose next batch fails as on a full disk, after which it refuses writes until it is opened
 * again.
 */
class SickLevel extends ClassicLevel<Uint8Array, Uint8Array> {
  sick = false;
  opened = 0;

  override open(): Promise<void> {
    this.opened++;
    this.sick = false;
    return super.open();
  }

  override batch(...args: unknown[]): never {
    if (this.sick) throw ioError('/data/000005.log: No space left on device');
    return (super.batch as (...args: unknown[]) => unknown)(...args) as never;
  }
}

function ioError(message: string): Error {
  return Object.assign(new Error(`IO error: ${message}`), { code: 'LEVEL_IO_ERROR' });
}

async function sickStore(): Promise<{ level: SickLevel; store: Store }> {
  const level = new SickLevel(temporaryDirectory(), { keyEncoding: 'view', valueEncoding: 'view' });
  await level.open();
  const store = new LevelStore(level as Level, new SystemDisk());
  onTestFinished(() => store.close());
  return { level, store };
}

test('after a write that found the disk full the store opens itself again before the next', async () => {
  const { level, store } = await sickStore();
  await writeBatch(store, { a: '1' });
  level.sick = true;
  await expect(writeBatch(store, { a: '2' })).rejects.toBeInstanceOf(DiskFullError);
  expect(await getMany(store, ['a'])).toEqual(['1']);
  expect(level.opened).toBe(1);
  await writeBatch(store, { a: '3' });
  expect(level.opened).toBe(2);
  expect(await getMany(store, ['a'])).toEqual(['3']);
});

test('reads and writes that arrive while the store opens itself again are served after it', async () => {
  const { level, store } = await sickStore();
  level.sick = true;
  const results = await Promise.allSettled([
    writeBatch(store, { a: '1' }),
    writeBatch(store, { a: '2', b: '2' }),
    writeBatch(store, { a: '3' }),
    getMany(store, ['a']),
  ]);
  expect(results.map((result) => result.status)).toEqual(['rejected', 'fulfilled', 'fulfilled', 'fulfilled']);
  expect(await getMany(store, ['a', 'b'])).toEqual(['3', '2']);
  expect(level.opened).toBe(2);
});

test('a batch made before the store opened itself again can be written after it', async () => {
  const { level, store } = await sickStore();
  const batch = store.batch();
  batch.put(new Uint8Array([97]), new Uint8Array([49]));
  level.sick = true;
  await expect(writeBatch(store, { b: '1' })).rejects.toBeInstanceOf(DiskFullError);
  await writeBatch(store, { b: '2' });
  await new Promise<void>((resolve) => batch.write(() => resolve()));
  expect(await getMany(store, ['a', 'b'])).toEqual(['1', '2']);
});

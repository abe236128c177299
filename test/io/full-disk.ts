/**
 * Run by full-disk.test.ts in a process whose files cannot grow over a limit: log files and stores meet a
 * disk that takes no more. Takes an empty directory; prints `ok` at the end.
 */
import { strict as assert } from 'node:assert';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { SystemDisk } from '../../src/io/disk.ts';
import { LevelStores } from '../../src/io/level.ts';
import type { Store } from '../../src/lib/env.ts';
import { DiskFullError } from '../../src/lib/errors.ts';

const TOO_MANY_BYTES = 4 << 20;
const directory = process.argv[2]!;
const disk = new SystemDisk();

function put(store: Store, key: string, value: Uint8Array): Promise<Error | null> {
  const batch = store.batch();
  batch.put(new TextEncoder().encode(key), value);
  return new Promise((resolve) => batch.write(resolve));
}

function lengths(store: Store, ...keys: string[]): Promise<(number | undefined)[]> {
  return new Promise((resolve, reject) => {
    store.getMany(
      keys.map((key) => new TextEncoder().encode(key)),
      (error, values) => (error === null ? resolve(values.map((value) => value?.length)) : reject(error)),
    );
  });
}

async function storeMeetsFullDisk(): Promise<void> {
  const stores = new LevelStores(disk);
  const path = join(directory, 'store');
  let store = await stores.open(path);
  assert.equal(await put(store, 'a', new Uint8Array(1)), null);
  assert.ok((await put(store, 'b', new Uint8Array(TOO_MANY_BYTES))) instanceof DiskFullError);
  assert.deepEqual(await lengths(store, 'a', 'b'), [1, undefined]);
  // What fits is taken again, and is still there after the next opening: nothing was appended to half a
  // record.
  assert.equal(await put(store, 'c', new Uint8Array(3)), null);
  assert.deepEqual(await lengths(store, 'a', 'b', 'c'), [1, undefined, 3]);
  await store.close();
  store = await stores.open(path);
  assert.deepEqual(await lengths(store, 'a', 'b', 'c'), [1, undefined, 3]);
  await store.close();
}

async function filesMeetFullDisk(): Promise<void> {
  const files = join(directory, 'files');
  const path = join(files, 'file');
  await disk.makeDirectory(files);
  await assert.rejects(disk.createLogFile(path, TOO_MANY_BYTES), DiskFullError);
  await assert.rejects(disk.replaceFile(path, new Uint8Array(TOO_MANY_BYTES)), DiskFullError);
  assert.deepEqual(readdirSync(files), []);
  await disk.replaceFile(path, new Uint8Array(5));
  await assert.rejects(disk.replaceFile(path, new Uint8Array(TOO_MANY_BYTES)), DiskFullError);
  assert.equal((await disk.readFile(path))?.length, 5);
}

await storeMeetsFullDisk();
await filesMeetFullDisk();
console.log('ok');

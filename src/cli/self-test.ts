/**
 * `hstore selftest`, not in the help: proves that the program works where this file has been put: that the native
 * store can be loaded, written and read, and that the program can start itself once more. Prints `ok`.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createEnv } from '../io/env.ts';
import { VERSION } from '../io/version.ts';
import type { Store } from '../lib/env.ts';
import { selfCommand } from './self.ts';

/** Throws what went wrong. */
export async function selfTest(): Promise<void> {
  await checkStore();
  await checkSelfStart();
  console.log('ok');
}

async function checkStore(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'hstore-selftest-'));
  try {
    const env = createEnv({ log: { level: 'warning' }, tcp: { keepAliveMs: 300_000 } });
    const store = await env.stores.open(join(directory, 'store'));
    const key = env.random.bytes(16);
    const value = env.random.bytes(1000);
    await put(store, key, value);
    const found = await get(store, key);
    await store.close();
    if (found?.toString() !== value.toString())
      throw new Error('the store does not give back what it was given');
  } finally {
    await rm(directory, { recursive: true });
  }
}

function put(store: Store, key: Uint8Array, value: Uint8Array): Promise<void> {
  const batch = store.batch();
  batch.put(key, value);
  return new Promise((resolve, reject) => {
    batch.write((error) => (error === null ? resolve() : reject(error)));
  });
}

function get(store: Store, key: Uint8Array): Promise<Uint8Array | undefined> {
  return new Promise((resolve, reject) => {
    store.getMany([key], (error, values) => (error === null ? resolve(values[0]) : reject(error)));
  });
}

async function checkSelfStart(): Promise<void> {
  const { command, args } = selfCommand(['--version']);
  const { stdout } = await promisify(execFile)(command, args);
  if (stdout.trim() !== VERSION) throw new Error(`${command} ${args.join(' ')} printed ${stdout}`);
}

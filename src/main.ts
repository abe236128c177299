/** The program: picks the mode, builds the real Env from io, and joins the parts. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createEnv } from './io/env.ts';
import { VERSION } from './io/version.ts';

const HELP = `hstore ${VERSION}: a consistent, durable key-value database that speaks the Redis protocol

usage: hstore MODE [arguments]

  --help       this text
  --version    the version
`;

main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});

async function main([mode = '--help', ...rest]: string[]): Promise<void> {
  if (mode === 'selftest' && rest.length === 0) await selfTest();
  else if (mode === '--version' || mode === '-v') console.log(VERSION);
  else if (mode === '--help' || mode === '-h') process.stdout.write(HELP);
  else {
    console.error(`hstore: unknown mode '${mode}'; see hstore --help`);
    process.exitCode = 2;
  }
}

/** `hstore selftest`, not in the help: proves that the native store works where this file has been put. */
async function selfTest(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'hstore-selftest-'));
  try {
    const env = createEnv({ log: { level: 'warning' }, tcp: { keepAliveMs: 300_000 } });
    const store = await env.stores.open(join(directory, 'store'));
    const key = new Uint8Array([1]);
    const batch = store.batch();
    batch.put(key, new Uint8Array([42]));
    await new Promise<void>((resolve, reject) => {
      batch.write((error) => (error === null ? resolve() : reject(error)));
    });
    const value = await new Promise<Uint8Array | undefined>((resolve, reject) => {
      store.getMany([key], (error, values) => (error === null ? resolve(values[0]) : reject(error)));
    });
    await store.close();
    if (value?.[0] !== 42) throw new Error(`the store gave ${value} for 42`);
    console.log('ok');
  } finally {
    await rm(directory, { recursive: true });
  }
}

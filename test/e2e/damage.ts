/** Harm done to the files of a server that is down. */
import { closeSync, openSync, readdirSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';

/** Turns one bit of the first place in the log that holds `text`. */
export function damageLog(directory: string, text: string): void {
  for (const name of readdirSync(join(directory, 'wal')).sort()) {
    const path = join(directory, 'wal', name);
    const at = readFileSync(path).indexOf(text);
    if (at < 0) continue;
    const file = openSync(path, 'r+');
    const byte = Buffer.alloc(1);
    readSync(file, byte, 0, 1, at);
    byte[0]! ^= 1;
    writeSync(file, byte, 0, 1, at);
    closeSync(file);
    return;
  }
  throw new Error('the log does not hold it');
}

/** The oldest segment says that it is of that version of the format. */
export function setLogVersion(directory: string, version: number): void {
  const [first] = readdirSync(join(directory, 'wal')).sort();
  const path = join(directory, 'wal', first!);
  const content = readFileSync(path);
  // The checksum of a header does not cover the version: it must be readable whatever else has changed.
  content.writeUInt32LE(version, 8);
  writeFileSync(path, content);
}

/** The store's meta record begins with that byte. */
export async function setStoreFormat(directory: string, format: number): Promise<void> {
  const level = new ClassicLevel<Uint8Array, Uint8Array>(join(directory, 'store'), {
    keyEncoding: 'view',
    valueEncoding: 'view',
  });
  const metas = await level.iterator({ gte: Uint8Array.of(0x6d), lt: Uint8Array.of(0x6e) }).all();
  if (metas.length === 0) throw new Error('the store has no meta record');
  for (const [key, value] of metas) {
    const changed = Uint8Array.from(value);
    changed[0] = format;
    await level.put(key, changed, { sync: true });
  }
  await level.close();
}

/** Cursors of MR.RESULT that no server has given. */
import { Buffer } from 'node:buffer';
import { expect, test } from 'vitest';
import { ConfigError } from '../../../src/lib/errors.ts';
import { chunkKey, type JobResult } from '../../../src/mapreduce/cluster/records.ts';
import { pageOf } from '../../../src/mapreduce/cluster/results.ts';
import { PartWriter } from '../../../src/mapreduce/parts.ts';
import type { ServiceHost } from '../../../src/server/service.ts';

const ID = 5;

/** A keyed part with one row. */
function partOf(key: string, line: Buffer): Buffer {
  const blocks: Buffer[] = [];
  const writer = new PartWriter(
    { write: (block) => void blocks.push(Buffer.from(block)), sync() {}, close() {} },
    'keyed',
  );
  writer.row({ key: Buffer.from(key), count: 1, line });
  writer.flush();
  return Buffer.concat(blocks);
}

test('a cursor into the middle of a line is refused, whatever bytes are there', async () => {
  // What `sort` makes of lines with these bytes.
  const parts = [
    partOf('a', Buffer.concat([Buffer.alloc(300, 0x80), Buffer.alloc(20)])),
    partOf('b', Buffer.from('b')),
  ];
  const result: JobResult = { parts: parts.map((part) => [9, 1, part.length] as const) };
  const host = {
    read: ({ argv }: { argv: Uint8Array[] }, done: (reply: Buffer) => void) => {
      const [, key, from, to] = argv.map((arg) => Buffer.from(arg).toString());
      const part = parts[key === chunkKey(ID, 0, 9, 0).toString() ? 0 : 1]!;
      setImmediate(done, part.subarray(Number(from), Number(to) + 1));
    },
  } as unknown as ServiceHost;
  const offsets = Buffer.alloc(16);
  offsets.writeUInt32LE(20, 0);
  const cursor = offsets.toString('base64');
  await expect(pageOf(host, { id: ID, result }, { cursor, count: 1 })).rejects.toThrow(ConfigError);
});

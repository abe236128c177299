/** Results that are read page by page: all lines, once each, in the order of their keys, wherever pages and chunks end. */
import { Buffer } from 'node:buffer';
import { describe, expect, test } from 'vitest';
import {
  CHUNK_BYTES,
  chunkKey,
  encodeRecord,
  type JobResult,
  resultKey,
} from '../../../src/mapreduce/cluster/records.ts';
import { chunkOf, pageOf, resultOf } from '../../../src/mapreduce/cluster/results.ts';
import { PartWriter } from '../../../src/mapreduce/parts.ts';
import type { ServiceHost } from '../../../src/server/service.ts';

const ID = 5;

/** A store with a result: of each part the lines, each with its key. */
function storeOf(parts: readonly (readonly (readonly [key: string, line: string])[])[]) {
  const values = new Map<string, Buffer>();
  const result: JobResult = {
    parts: parts.map((rows, part) => {
      const blocks: Buffer[] = [];
      const bytesWriter = {
        write: (block: Uint8Array) => void blocks.push(Buffer.from(block)),
        sync() {},
        close() {},
      };
      const writer = new PartWriter(bytesWriter, 'keyed');
      for (const [key, line] of rows)
        writer.row({ key: Buffer.from(key), count: 1, line: Buffer.from(line) });
      writer.flush();
      const bytes = Buffer.concat(blocks);
      const chunks = Math.ceil(bytes.length / CHUNK_BYTES);
      for (let i = 0; i < chunks; i++) {
        const chunk = bytes.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES);
        values.set(chunkKey(ID, part, 9, i).toString(), chunk);
      }
      return [9, chunks, bytes.length] as const;
    }),
  };
  values.set(resultKey(ID).toString(), encodeRecord(result));
  const host: Pick<ServiceHost, 'read'> = {
    read({ argv }, done) {
      const [name, key, from, to] = argv.map((arg) => Buffer.from(arg).toString());
      const value = values.get(key!);
      const found =
        name === 'GET' ? (value ?? null) : (value?.subarray(Number(from), Number(to) + 1) ?? Buffer.alloc(0));
      setImmediate(done, found);
    },
  };
  return { host: host as ServiceHost, values, result };
}

async function allPages({ host, result }: ReturnType<typeof storeOf>, count: number): Promise<string[]> {
  const lines: string[] = [];
  for (let cursor = '0'; ; ) {
    const page = await pageOf(host, { id: ID, result }, { cursor, count });
    lines.push(...page.lines.map((line) => Buffer.from(line).toString()));
    ({ cursor } = page);
    if (cursor === '0') return lines;
  }
}

const WORDS = Array.from({ length: 300 }, (_, i) => `word${String(i).padStart(4, '0')}`);
const spread = (parts: number) =>
  Array.from({ length: parts }, (_, part) =>
    WORDS.filter((_, i) => (i * 7) % parts === part).map((word) => [word, `${word}: 1`] as const),
  );

describe('pages', () => {
  test.each([
    [1, 10],
    [3, 1],
    [3, 7],
    [5, 1000],
    [200, 11],
  ])('of %i parts, %i lines at a time, have all lines in order', async (parts, count) => {
    expect(await allPages(storeOf(spread(parts)), count)).toEqual(WORDS.map((word) => `${word}: 1`));
  });

  test('go over the ends of chunks, and lines that are longer than what is read at a time', async () => {
    const line = (i: number) => `${i}`.repeat(i % 3 === 0 ? 40_000 : 10);
    const rows = Array.from({ length: 60 }, (_, i) => [`k${String(i).padStart(3, '0')}`, line(i)] as const);
    const store = storeOf([rows.filter((_, i) => i % 2 === 0), rows.filter((_, i) => i % 2 === 1)]);
    expect(store.result.parts[0]![1]).toBeGreaterThan(1);
    expect(await allPages(store, 7)).toEqual(rows.map(([, text]) => text));
  });

  test('of a result without lines are empty', async () => {
    expect(await allPages(storeOf([[], []]), 10)).toEqual([]);
  });

  test.each(['1', 'AAAA', 'nonsense', Buffer.alloc(16, 0xff).toString('base64')])(
    'refuse the cursor %s',
    async (cursor) => {
      const { host, result } = storeOf(spread(2));
      await expect(pageOf(host, { id: ID, result }, { cursor, count: 1 })).rejects.toThrow('cursor');
    },
  );
});

test('chunks of a part are its bytes', async () => {
  const { host, values, result } = storeOf(spread(2));
  expect(await resultOf(host, ID)).toMatchObject(result);
  const chunk = await chunkOf(host, { id: ID, result }, { part: 1, chunk: 0 });
  expect(chunk).toEqual(values.get(chunkKey(ID, 1, 9, 0).toString()));
  expect(await chunkOf(host, { id: ID, result }, { part: 1, chunk: 1 })).toBeUndefined();
  await expect(chunkOf(host, { id: ID, result }, { part: 2, chunk: 0 })).rejects.toThrow('job 5 has 2 parts');
});

test('a result that is removed while it is read is said to be so', async () => {
  const store = storeOf(spread(2));
  store.values.delete(chunkKey(ID, 0, 9, 0).toString());
  await expect(allPages(store, 10)).rejects.toThrow('the result of job 5 has been removed');
});

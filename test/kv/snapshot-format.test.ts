import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ChunkDecoder,
  ChunkEncoder,
  SNAPSHOT_CHUNK_BYTES_MAX,
  type SnapshotEntry,
} from '../../src/kv/snapshot-format.ts';
import { MalformedError } from '../../src/lib/bytes.ts';

function entryOf(keyBytes: number, valueBytes: number, fill = 1): SnapshotEntry {
  return { key: new Uint8Array(keyBytes).fill(fill), value: new Uint8Array(valueBytes).fill(fill + 1) };
}

function chunksOf(entries: readonly SnapshotEntry[]): Uint8Array[] {
  const encoder = new ChunkEncoder();
  for (const entry of entries) encoder.add(entry);
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = encoder.take();
    if (chunk === undefined) return chunks;
    chunks.push(chunk);
  }
}

function plain(entries: readonly SnapshotEntry[]): string[] {
  return entries.map(
    ({ key, value }) => `${Buffer.from(key).toString('hex')}=${Buffer.from(value).toString('hex')}`,
  );
}

describe('chunks', () => {
  const room = SNAPSHOT_CHUNK_BYTES_MAX - 2 - 8;
  const size = fc.oneof(
    { weight: 5, arbitrary: fc.integer({ min: 0, max: 300 }) },
    { weight: 1, arbitrary: fc.integer({ min: room - 12, max: room + 12 }) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 3 * SNAPSHOT_CHUNK_BYTES_MAX }) },
  );

  test('give back the entries that were put in, and none is longer than may be', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 12 }), size), { maxLength: 12 }), (sizes) => {
        const entries = sizes.map(([key, value], i) => entryOf(key, value, i));
        const decoder = new ChunkDecoder();
        const found: SnapshotEntry[] = [];
        for (const chunk of chunksOf(entries)) {
          expect(chunk.length).toBeLessThanOrEqual(SNAPSHOT_CHUNK_BYTES_MAX);
          found.push(...decoder.take(chunk));
        }
        expect(decoder.inside).toBe(false);
        expect(plain(found)).toEqual(plain(entries));
      }),
      { numRuns: 60 },
    );
  });

  test('cut only what does not fit into one, keys too', () => {
    expect(chunksOf([entryOf(1, room - 1)])).toHaveLength(1);
    expect(chunksOf([entryOf(1, room)])).toHaveLength(2);
    const [first, second] = chunksOf([entryOf(1, 10), entryOf(1, room - 1)]);
    expect([first!.length, second!.length]).toEqual([2 + 8 + 11, SNAPSHOT_CHUNK_BYTES_MAX]);
    const decoder = new ChunkDecoder();
    const entry = entryOf(SNAPSHOT_CHUNK_BYTES_MAX, 5);
    expect(plain(chunksOf([entry]).flatMap((chunk) => decoder.take(chunk)))).toEqual(plain([entry]));
  });

  test('are refused when they make no sense', () => {
    const [small] = chunksOf([entryOf(3, 5)]);
    const [first, second] = chunksOf([entryOf(1, 2 * room)]);
    const huge = Uint8Array.from(small!);
    huge.set([255, 255, 255, 255], 6);
    const wrong: [string, Uint8Array[]][] = [
      ['has 0 bytes', [new Uint8Array(0)]],
      ['has 2 bytes', [small!.subarray(0, 2)]],
      [`has ${SNAPSHOT_CHUNK_BYTES_MAX + 1} bytes`, [new Uint8Array(SNAPSHOT_CHUNK_BYTES_MAX + 1)]],
      ['in format 9', [Uint8Array.of(9, ...small!.subarray(1))]],
      ['ends too soon', [small!.subarray(0, 7)]],
      ['an entry of a snapshot is cut', [small!.subarray(0, small!.length - 1)]],
      ['an entry of a snapshot has 3 and 4294967295 bytes', [huge]],
      ['is missing', [second!]],
      ['is missing', [first!, small!]],
      ['is missing', [first!, first!]],
    ];
    for (const [problem, chunks] of wrong) {
      const decoder = new ChunkDecoder();
      const take = () => chunks.map((chunk) => decoder.take(chunk));
      expect(take).toThrow(problem);
      expect(() => new ChunkDecoder().take(chunks.at(-1)!.subarray(0, 1))).toThrow(MalformedError);
    }
  });
});

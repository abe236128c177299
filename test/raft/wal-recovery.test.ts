/** Reading the log at start: what a crash tore is cut off, what was durable and has rotted is refused. */
import { describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/lib/errors.ts';
import { DAMAGE_ADVICE } from '../../src/raft/wal-damage.ts';
import { decodeRecord, decodeSegmentHeader, SEGMENT_HEADER_BYTES } from '../../src/raft/wal-format.ts';
import {
  damaged,
  entry,
  type Files,
  GROUP,
  type OpenLog,
  recoveredTexts,
  saveOf,
  segmentPath,
  stateAt,
  texts,
  upTo,
  WalWorld,
} from './wal-world.ts';

const FIRST = segmentPath(1);

/** A log of `count` records, one entry each, and where each record lies in the first segment. */
async function logOf(count: number, options: { sealed: boolean; dataBytes?: number }) {
  const world = new WalWorld();
  const { wal } = await world.open();
  await world.save(wal, saveOf({ hardState: { term: 1, votedFor: 2 } }));
  const entries = Array.from({ length: count }, (_, i) =>
    entry(i + 1, 1, `entry ${i + 1}`.padEnd(options.dataBytes ?? 0)),
  );
  for (const one of entries) await world.save(wal, saveOf({ entries: [one] }));
  if (options.sealed) await world.run(2000);
  const files = world.files();
  return { files, entries, records: recordsOf(files.get(FIRST)!) };
}

/** [start, end) of every record, and the end of its content. */
function recordsOf(segment: Uint8Array): { start: number; end: number; contentEnd: number }[] {
  const { seed } = decodeSegmentHeader(segment)!;
  const records = [];
  for (let start = SEGMENT_HEADER_BYTES; ; ) {
    const record = decodeRecord(segment, start, seed);
    if (record === 'empty' || record === 'bad') return records;
    const length = Buffer.from(segment).readUInt32LE(start + 8);
    records.push({ start, end: record.end, contentEnd: start + 24 + length });
    start = record.end;
  }
}

const open = (files: Files): Promise<OpenLog> => new WalWorld({ files }).open();

describe('a torn tail', () => {
  test('is cut off, at whatever byte the last record was torn, and the log goes on from there', async () => {
    const { files, entries, records } = await logOf(4, { sealed: false });
    const last = records.at(-1)!;
    for (let cut = last.start; cut < last.contentEnd; cut++) {
      const torn = damaged(files, FIRST, (content) => content.fill(0, cut));
      const world = new WalWorld({ files: torn });
      const log = await world.open();
      expect(recoveredTexts(log), `cut at ${cut}`).toEqual(texts(entries.slice(0, 3)));
      expect(
        world.disk.files
          .get(FIRST)!
          .subarray(last.start)
          .every((byte) => byte === 0),
      ).toBe(true);
      const other = entry(4, 2, 'x');
      await world.save(log.wal, saveOf({ entries: [other] }));
      expect(recoveredTexts(await open(world.crash()))).toEqual(texts([...entries.slice(0, 3), other]));
    }
  });

  test('is cut off when the disk wrote its end and not its beginning', async () => {
    const { files, entries, records } = await logOf(4, { sealed: false });
    const last = records.at(-1)!;
    for (let from = last.start + 1; from <= last.contentEnd - 1; from++) {
      const torn = damaged(files, FIRST, (content) => content.fill(0, last.start, from));
      expect(recoveredTexts(await open(torn)), `zeros up to ${from}`).toEqual(texts(entries.slice(0, 3)));
    }
  });

  test('keeps the term and the vote that were durable before it', async () => {
    const { files, records } = await logOf(1, { sealed: false });
    const torn = damaged(files, FIRST, (content) => content.fill(0, records.at(-1)!.start + 5));
    expect((await open(torn)).recovered.get(GROUP)!.hardState).toEqual({ term: 1, votedFor: 2 });
  });
});

describe('rot', () => {
  test('a flipped bit in any byte of any record but the last is refused, with the place', async () => {
    const { files, records } = await logOf(4, { sealed: false });
    for (const { start, contentEnd } of records.slice(0, -1)) {
      for (let at = start; at < contentEnd; at++) {
        const rotten = damaged(files, FIRST, (content) => {
          content[at] = content[at]! ^ (1 << (at % 8));
        });
        const opened = open(rotten);
        await expect(opened, `byte ${at}`).rejects.toThrow(CorruptionError);
        await expect(opened).rejects.toThrow(`${FIRST} is damaged at byte ${start}`);
      }
    }
  });

  test('in the last record is refused once a seal is behind it', async () => {
    const { files, entries, records } = await logOf(3, { sealed: true });
    const lastOfEntries = records.at(-2)!;
    expect(recoveredTexts(await open(files))).toEqual(texts(entries));
    for (let at = lastOfEntries.start; at < lastOfEntries.contentEnd; at++) {
      const rotten = damaged(files, FIRST, (content) => {
        content[at] = content[at]! ^ 0x10;
      });
      await expect(open(rotten), `byte ${at}`).rejects.toThrow(CorruptionError);
    }
  });

  test('in a header is refused, however little has been written behind it', async () => {
    const { files } = await logOf(3, { sealed: false });
    for (let at = 0; at < SEGMENT_HEADER_BYTES; at++) {
      const rotten = damaged(files, FIRST, (content) => {
        content[at] = content[at]! ^ 0x04;
      });
      await expect(open(rotten), `byte ${at}`).rejects.toThrow(CorruptionError);
    }
  });

  test('in a header is refused when other segments follow', async () => {
    const { files } = await logOf(12, { sealed: false, dataBytes: 900 });
    for (const number of [1, 2]) {
      const rotten = damaged(files, segmentPath(number), (content) => {
        content[0] = content[0]! ^ 0x04;
      });
      await expect(open(rotten)).rejects.toThrow(CorruptionError);
    }
  });

  test('at the end of a segment is refused when the next one was begun behind it', async () => {
    const { files } = await logOf(12, { sealed: false, dataBytes: 900 });
    const last = recordsOf(files.get(FIRST)!).at(-1)!;
    const rotten = damaged(files, FIRST, (content) => content.fill(0, last.start));
    await expect(open(rotten)).rejects.toThrow(
      /is damaged at byte \d+: record \d+ is not readable, but .* was begun/,
    );
  });

  test('bytes that a client stored pass for no record, and do not make a torn tail look durable', async () => {
    const { files, records } = await logOf(3, { sealed: false });
    const { start, end } = records.at(-2)!;
    const stored = files.get(FIRST)!.slice(start, end);
    // The remains of another log: good records of it, under another seed.
    const world = new WalWorld({ seed: 99 });
    const { wal } = await world.open();
    const first = entry(1, 1, Buffer.concat([Buffer.alloc(7), stored]));
    await world.save(wal, saveOf({ entries: [entry(1, 1)] }));
    await world.save(wal, saveOf({ entries: [entry(2, 1, first.data)] }));
    const torn = world.files();
    const last = recordsOf(torn.get(FIRST)!).at(-1)!;
    const cut = damaged(torn, FIRST, (content) => {
      content[last.start + 30] = content[last.start + 30]! ^ 1;
    });
    expect(recoveredTexts(await open(cut))).toEqual(texts([entry(1, 1)]));
  });
});

describe('segments that do not fit', () => {
  test('one that is missing between two others is named', async () => {
    const { files } = await logOf(20, { sealed: false, dataBytes: 900 });
    const without = new Map(files);
    without.delete(segmentPath(3));
    await expect(open(without)).rejects.toThrow(
      `the segment between ${segmentPath(2)} and ${segmentPath(4)} is missing; ${DAMAGE_ADVICE}`,
    );
  });

  test('the first one is missing, and the store does not have what it held', async () => {
    const { files } = await logOf(20, { sealed: false, dataBytes: 900 });
    const without = new Map(files);
    without.delete(segmentPath(1));
    await expect(open(without)).rejects.toThrow(CorruptionError);
  });

  test('a log that ends before what the store has applied is of another time or place', async () => {
    const { files } = await logOf(3, { sealed: false });
    await expect(new WalWorld({ files }).open({ stateOf: () => stateAt(4) })).rejects.toThrow(
      /another time or place/,
    );
  });

  test('a format of the future is refused by its number', async () => {
    const { files } = await logOf(1, { sealed: false });
    const { crc32 } = await import('../../src/lib/checksum.ts');
    const future = damaged(files, FIRST, (content) => {
      const bytes = Buffer.from(content.buffer);
      bytes.writeUInt32LE(7, 8);
      bytes.writeUInt32LE(crc32(bytes.subarray(16, SEGMENT_HEADER_BYTES)), 12);
    });
    await expect(open(future)).rejects.toThrow(/is of log format 7, this program reads format 2$/);
  });

  test('one torn at its first write, at whatever byte, is as if it had not been begun', async () => {
    const { files, entries } = await logOf(4, { sealed: false, dataBytes: 900 });
    expect(recordsOf(files.get(FIRST)!).length).toBe(6);
    const full = new WalWorld({ files });
    const { wal } = await full.open();
    const fifth = entry(5, 1, 'entry 5'.padEnd(900));
    await full.save(wal, saveOf({ entries: [fifth] }));
    const second = segmentPath(2);
    const begun = full.files();
    const firstWrite = recordsOf(begun.get(second)!)[0]!;
    for (let cut = 0; cut < firstWrite.contentEnd; cut++) {
      const torn = damaged(begun, second, (content) => content.fill(0, cut));
      const world = new WalWorld({ files: torn });
      const log = await world.open();
      expect(recoveredTexts(log), `cut at ${cut}`).toEqual(texts(entries));
      // It is begun anew, and what its first record says is there for the day on which the segment before it goes.
      for (let index = 5; index <= 12; index++) {
        await world.save(log.wal, saveOf({ entries: [entry(index, 1, `entry ${index}`.padEnd(900))] }));
      }
      expect(log.wal.compact(GROUP, upTo(3)), 'what is needed stays').toBe(0);
      expect(await world.read(log.wal, 4), 'what is needed stays').not.toEqual([]);
      expect(log.wal.compact(GROUP, upTo(9))).toBeGreaterThanOrEqual(4);
      await world.run(100);
      const again = await new WalWorld({ files: world.crash() }).open({ stateOf: () => stateAt(9) });
      expect(again.recovered.get(GROUP)!.log.lastIndex).toBe(12);
      expect(again.recovered.get(GROUP)!.hardState).toEqual({ term: 1, votedFor: 2 });
    }
  });

  test('the very first one torn at its first write is begun anew', async () => {
    const world = new WalWorld();
    const opened = await world.open();
    await world.until(opened.wal.close());
    const files = world.files();
    for (let cut = 0; cut < SEGMENT_HEADER_BYTES + 24; cut++) {
      const torn = damaged(files, FIRST, (content) => content.fill(0, cut));
      const again = new WalWorld({ files: torn });
      const { wal, recovered } = await again.open();
      expect(recovered.size).toBe(0);
      await again.save(wal, saveOf({ entries: [entry(1, 1)] }));
      expect(recoveredTexts(await open(again.crash()))).toEqual(['1@1 entry 1']);
    }
  });
});

import { expect, test } from 'vitest';
import type { BulkFiles } from '../../src/lib/bulk.ts';
import { type OutputOrder, writeOutput } from '../../src/mapreduce/output.ts';
import { PartReader, PartWriter } from '../../src/mapreduce/parts.ts';
import { SimRandom } from '../sim/random.ts';
import { MemoryFiles } from './memory-files.ts';

interface Row {
  readonly key: string;
  readonly count: number;
  readonly line: string;
}

const bytes = (text: string) => Buffer.from(text, 'latin1');

function writePart(
  files: BulkFiles,
  path: string,
  rows: readonly Row[],
  kind: 'lines' | 'keyed' = 'keyed',
): void {
  const writer = files.create(path);
  const part = new PartWriter(writer, kind);
  for (const { key, count, line } of rows) part.row({ key: bytes(key), count, line: bytes(line) });
  part.flush();
  writer.close();
}

async function outputOf(files: BulkFiles, parts: readonly string[], order: OutputOrder): Promise<string> {
  let text = '';
  const write = async (block: Uint8Array) => {
    text += Buffer.from(block).toString('latin1');
    return true;
  };
  await writeOutput(parts, order, { files, write });
  return text;
}

const byBytes = (a: Row, b: Row) => Buffer.compare(bytes(a.key), bytes(b.key));

test('a part comes back row by row, whatever the rows are', () => {
  const random = new SimRandom(1);
  const files = new MemoryFiles();
  const text = (bytesMax: number) => Buffer.from(random.bytes(random.below(bytesMax))).toString('latin1');
  const rows = Array.from(
    { length: 300 },
    (): Row => ({
      key: text(random.pick([3, 300, 300_000])),
      count: random.pick([0, 1, 127, 128, 2 ** 31, 2 ** 53 - 1]),
      line: text(random.pick([3, 300, 600_000])),
    }),
  );
  writePart(files, 'part', rows);
  const reader = new PartReader(files.open('part'));
  for (const { key, count, line } of rows) {
    const row = reader.next()!;
    expect(row.count).toBe(count);
    expect(Buffer.compare(row.key, bytes(key)) + Buffer.compare(row.line, bytes(line))).toBe(0);
  }
  expect(reader.next()).toBeUndefined();
});

test('a part of lines is these lines', () => {
  const files = new MemoryFiles();
  writePart(
    files,
    'part',
    [
      { key: 'b', count: 1, line: 'one' },
      { key: 'a', count: 2, line: '' },
    ],
    'lines',
  );
  expect(Buffer.from(files.content('part')!).toString()).toBe('one\n\n');
});

test('parts are merged in the order of their keys, which is not that of their lines', async () => {
  const files = new MemoryFiles();
  writePart(files, 'p0', [{ key: 'a', count: 0, line: 'a: 1' }]);
  writePart(files, 'p1', [{ key: 'a!', count: 0, line: 'a!: 1' }]);
  writePart(files, 'p2', []);
  expect(await outputOf(files, ['p2', 'p1', 'p0'], { by: 'key', top: undefined })).toBe('a: 1\na!: 1\n');
});

test('the order and the first lines are what sorting all rows says (random parts)', async () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = new SimRandom(seed);
    const files = new MemoryFiles();
    const keys = new Set(
      Array.from({ length: random.below(200) }, () =>
        Buffer.from(random.bytes(random.below(4))).toString('latin1'),
      ),
    );
    const rows = [...keys].map((key, i): Row => ({ key, count: random.below(20), line: `${i}` }));
    const parts = Array.from({ length: 1 + random.below(9) }, (_, i) => `p${i}`);
    const of = new Map(rows.map((row) => [row, random.pick(parts)]));
    for (const part of parts)
      writePart(files, part, rows.filter((row) => of.get(row) === part).sort(byBytes));
    rows.sort(byBytes);
    const top = random.pick([undefined, 0, 1, 7, 1000]);
    const lines = (sorted: readonly Row[]) =>
      sorted
        .slice(0, top)
        .map(({ line }) => `${line}\n`)
        .join('');
    expect(await outputOf(files, parts, { by: 'key', top })).toBe(lines(rows));
    expect(await outputOf(files, parts, { by: 'count', top })).toBe(
      lines(rows.sort((a, b) => b.count - a.count)),
    );
  }
});

test('ten thousand parts are merged with few open files', async () => {
  const files = new MemoryFiles();
  const parts = Array.from({ length: 10_000 }, (_, i) => `p${i}`);
  const key = (i: number) => `${i}`.padStart(6, '0');
  parts.forEach((part, i) => {
    const rows = [key(i), key(i + 10_000)].map((each): Row => ({ key: each, count: 1, line: each }));
    writePart(files, part, i % 2 === 0 ? rows : []);
  });
  const expected = Array.from({ length: 20_000 }, (_, i) => i).filter((i) => i % 2 === 0);
  const output = await outputOf(files, parts, { by: 'key', top: undefined });
  expect(output).toBe(expected.map((i) => `${key(i)}\n`).join(''));
  expect(files.openMax).toBeLessThan(200);
});

test('nothing more is written once nobody reads', async () => {
  const files = new MemoryFiles();
  const rows = Array.from(
    { length: 10_000 },
    (_, i): Row => ({ key: `${i}`.padStart(6, '0'), count: 0, line: 'x'.repeat(100) }),
  );
  writePart(files, 'part', rows);
  let blocks = 0;
  await writeOutput(['part'], { by: 'key', top: undefined }, { files, write: async () => ++blocks < 2 });
  expect(blocks).toBe(2);
});

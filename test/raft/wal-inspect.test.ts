/** A look at a log from outside: what is there, what is wrong, and nothing changed by looking. */
import { expect, test } from 'vitest';
import { inspectWal, type WalInspection } from '../../src/raft/wal-inspect.ts';
import { damaged, entry, type Files, GROUP, saveOf, segmentPath, upTo, WalWorld } from './wal-world.ts';

const padded = (index: number, term: number) => entry(index, term, `${index}.`.padEnd(900, 'x'));

/** Two groups, seven segments; group 2 has begun anew behind a snapshot. */
async function twoGroups(): Promise<Files> {
  const world = new WalWorld();
  const { wal } = await world.open();
  await world.save(wal, saveOf({ hardState: { term: 3, votedFor: 7 } }));
  for (let index = 1; index <= 26; index++) await world.save(wal, saveOf({ entries: [padded(index, 3)] }));
  const ofSecond = saveOf({
    ...{ hardState: { term: 5, votedFor: 0 }, snapshot: { index: 90, term: 4 } },
    entries: [entry(91, 5)],
  });
  await world.until(new Promise<void>((done) => wal.save(2, ofSecond, done)));
  await world.run(2000);
  return world.crash();
}

async function inspect(files: Files): Promise<WalInspection> {
  const world = new WalWorld({ files });
  const found = await world.until(
    inspectWal(world.disk.open({ alive: true, paused: false, held: [] }), 'wal'),
  );
  for (const [path, content] of files) expect(world.disk.files.get(path), path).toEqual(content);
  expect(world.disk.files.size).toBe(files.size);
  return found;
}

const GROUPS = [
  { group: GROUP, firstIndex: 1, lastIndex: 26, lastTerm: 3, term: 3, votedFor: 7 },
  { group: 2, firstIndex: 91, lastIndex: 91, lastTerm: 5, term: 5, votedFor: 0 },
];

test('a whole log is described group by group', async () => {
  const files = await twoGroups();
  const bytes = [...files.values()].reduce((sum, { length }) => sum + length, 0);
  expect(await inspect(files)).toEqual({ segments: files.size, bytes, groups: GROUPS, problems: [] });
});

test('no directory is an empty log', async () => {
  expect(await inspect(new Map())).toEqual({ segments: 0, bytes: 0, groups: [], problems: [] });
});

test('a compacted log begins behind what is gone', async () => {
  const world = new WalWorld();
  const { wal } = await world.open();
  for (let index = 1; index <= 28; index++) await world.save(wal, saveOf({ entries: [padded(index, 3)] }));
  const begin = wal.compact(GROUP, upTo(20));
  await world.run(100);
  const { groups } = await inspect(world.crash());
  expect(groups[0]).toMatchObject({ firstIndex: begin + 1, lastIndex: 28 });
});

test('an unfinished write at the end is named with its place, and is no problem', async () => {
  const files = await twoGroups();
  const last = [...files.keys()]
    .filter((path) => files.get(path)!.some((byte) => byte !== 0))
    .sort()
    .at(-1)!;
  const end = files.get(last)!.findLastIndex((byte) => byte !== 0);
  const torn = damaged(files, last, (content) => content.fill(9, end + 100, end + 200));
  const found = await inspect(torn);
  expect(found.problems).toEqual([]);
  expect(found.tornTailAt?.file).toBe(last);
  expect(found.tornTailAt!.offset).toBeLessThanOrEqual(end + 100);
  expect(found.groups).toEqual(GROUPS);
});

test('every damage is a line, and what is whole before the first is still described', async () => {
  const files = await twoGroups();
  const flip = (from: Files, path: string, at: number) =>
    damaged(from, path, (content) => {
      content[at]! ^= 4;
    });
  const rotten = flip(flip(files, segmentPath(3), 1500), segmentPath(5), 1500);
  const found = await inspect(rotten);
  expect(found.problems).toEqual([
    expect.stringMatching(/000000000003\.wal is damaged at byte \d+: .*--join$/),
    expect.stringMatching(/000000000005\.wal is damaged at byte \d+: .*--join$/),
  ]);
  expect(found.groups).toMatchObject([{ group: GROUP, firstIndex: 1, term: 3, votedFor: 7 }]);
  expect(found.groups[0]!.lastIndex).toBeLessThan(12);
});

test('a missing segment and a header that is gone are lines', async () => {
  const files = new Map(await twoGroups());
  files.delete(segmentPath(3));
  expect((await inspect(files)).problems).toEqual([
    expect.stringMatching(/^the segment between .*2\.wal and .*4\.wal is missing/),
  ]);
  const headless = damaged(await twoGroups(), segmentPath(1), (content) => content.fill(0, 0, 8));
  expect((await inspect(headless)).problems).toEqual([
    expect.stringMatching(/1\.wal: the header is damaged, and it was in use/),
  ]);
});

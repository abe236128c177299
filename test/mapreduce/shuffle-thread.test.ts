/** The shuffle over real sockets and files: the thread's part of the program, and a reduce task that fetches from it. */
import { mkdirSync, readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { SystemBulkFiles } from '../../src/io/bulk-files.ts';
import { openBulkNetwork } from '../../src/io/bulk-network.ts';
import type { WorkerSide } from '../../src/lib/bulk.ts';
import type { BulkTls } from '../../src/lib/bulk-network.ts';
import { type FetchSource, fetchPartition } from '../../src/mapreduce/shuffle-fetch.ts';
import {
  type FromShuffle,
  runShuffleThread,
  type ShuffleMission,
  type ToShuffle,
} from '../../src/mapreduce/shuffle-thread.ts';
import { temporaryDirectory } from '../io/temporary.ts';
import { bigPartition, JOB, KEY, rowsOf, SELF, SILENT, writeOutput } from './shuffle-world.ts';

const files = new SystemBulkFiles();
const HOST = '127.0.0.1';

/** The thread's part, run here; what it says, and a way to tell it something. */
class Thread {
  readonly heard: FromShuffle[] = [];
  #tell!: (message: unknown) => void;
  #watchers: (() => void)[] = [];

  constructor(root: string, { port = 0, tls }: { port?: number; tls?: BulkTls } = {}) {
    const data: ShuffleMission = { root, listen: { host: HOST, port }, tls };
    const side: WorkerSide = {
      data,
      onMessage: (handler) => {
        this.#tell = handler;
      },
      post: (message) => {
        this.heard.push(message as FromShuffle);
        for (const watcher of this.#watchers.splice(0)) watcher();
      },
    };
    runShuffleThread(side, files, openBulkNetwork);
  }

  tell(message: ToShuffle): void {
    this.#tell(message);
  }

  async first<K extends FromShuffle['kind']>(kind: K): Promise<FromShuffle & { kind: K }> {
    for (;;) {
      const found = this.heard.find((message) => message.kind === kind);
      if (found !== undefined) return found as FromShuffle & { kind: K };
      await new Promise<void>((resolve) => this.#watchers.push(resolve));
    }
  }
}

function prepare(): { root: string; own: string; sources: FetchSource[] } {
  const root = `${temporaryDirectory()}/mapreduce`;
  const own = temporaryDirectory();
  mkdirSync(`${root}/${JOB}`, { recursive: true });
  const sources = [1, 2, 3].map((map) => {
    writeOutput(files, `${root}/${JOB}/map-${map}-${map}`, [bigPartition(30_000, map), []]);
    return { node: 1, map, attempt: map };
  });
  return { root, own, sources };
}

async function fetchFrom(
  port: number,
  { root, own, sources }: ReturnType<typeof prepare>,
  tls?: BulkTls,
): Promise<void> {
  const fetch = fetchPartition(sources, {
    ...{ files, bulk: openBulkNetwork(tls, SILENT), self: SELF, job: JOB, key: KEY, partition: 0 },
    ...{ addresses: new Map([[1, { host: HOST, port }]]), directory: own, path: `${own}/reduce-0-1` },
    onBytes: () => {},
  });
  const expected = sources.map(({ map, attempt }) => `${root}/${JOB}/map-${map}-${attempt}`);
  expect(rowsOf(files, await fetch.fetched)).toEqual(rowsOf(files, expected));
  fetch.dispose();
  expect(readdirSync(own)).toEqual([]);
}

test('the shuffle thread says where it listens, serves the jobs that it is told of, and how much', async () => {
  const prepared = prepare();
  const thread = new Thread(prepared.root);
  thread.tell({ kind: 'jobs', jobs: [[JOB, KEY]] });
  const { port } = await thread.first('listening');
  await fetchFrom(port, prepared);
  expect((await thread.first('served')).bytes).toBeGreaterThan(3_000_000);
});

test('the shuffle thread removes what is left of other jobs, and nothing else', async () => {
  const root = temporaryDirectory();
  for (const name of ['job-1-1', JOB, 'job-9-12', 'modules'])
    mkdirSync(`${root}/${name}/inside`, { recursive: true });
  const thread = new Thread(root);
  thread.tell({ kind: 'jobs', jobs: [[JOB, KEY]] });
  expect(await thread.first('swept')).toEqual({ kind: 'swept', jobs: 1 });
  expect(readdirSync(root).sort()).toEqual([JOB, 'modules']);
});

test('a shuffle thread whose port is taken says so', async () => {
  const first = new Thread('nowhere');
  const { port } = await first.first('listening');
  const second = new Thread('nowhere', { port });
  expect((await second.first('failed')).message).toBe(`address ${HOST}:${port} is already in use`);
});

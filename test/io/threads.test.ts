import { expect, test } from 'vitest';
import { SystemThreads, workerSide } from '../../src/io/threads.ts';
import type { Thread } from '../../src/lib/bulk.ts';

const threads = new SystemThreads(new URL('thread-program.mjs', import.meta.url));

interface Started {
  readonly thread: Thread;
  /** The next message. */
  heard(): Promise<unknown>;
  readonly exited: Promise<Error | null>;
  exits(): number;
}

function start(data: unknown = {}): Started {
  const messages: unknown[] = [];
  const waiting: ((message: unknown) => void)[] = [];
  let count = 0;
  let exit: (error: Error | null) => void = () => {};
  const exited = new Promise<Error | null>((resolve) => {
    exit = resolve;
  });
  const thread = threads.start('part', data, {
    onMessage: (message) => {
      const next = waiting.shift();
      if (next === undefined) messages.push(message);
      else next(message);
    },
    onExit: (error) => {
      count++;
      exit(error);
    },
  });
  const heard = () =>
    messages.length > 0
      ? Promise.resolve(messages.shift())
      : new Promise((resolve) => {
          waiting.push(resolve);
        });
  return { thread, heard, exited, exits: () => count };
}

test('a thread knows which part of the program it is, and what for; messages go both ways in their order', async () => {
  const { thread, heard, exited } = start({ bytes: Buffer.from('x'), list: ['a'] });
  expect(await heard()).toMatchObject({ hstoreWorker: 'part', data: { list: ['a'] } });
  for (let i = 0; i < 100; i++) thread.post(i);
  for (let i = 0; i < 100; i++) expect(await heard()).toEqual({ heard: i, bytes: 0 });
  thread.terminate();
  await exited;
});

test('a buffer that is handed over is gone here', async () => {
  const { thread, heard, exited } = start();
  await heard();
  const buffer = new ArrayBuffer(1000);
  thread.post(buffer, [buffer]);
  expect(await heard()).toMatchObject({ bytes: 1000 });
  expect(buffer.byteLength).toBe(0);
  thread.terminate();
  await exited;
});

test('a thread that is terminated ends whatever it does, and no error is told', async () => {
  const { thread, heard, exited, exits } = start();
  await heard();
  thread.post('spin');
  thread.terminate();
  expect(await exited).toBeNull();
  thread.terminate();
  thread.post('late');
  expect(exits()).toBe(1);
});

test('an error that nobody catches ends the thread, not the process, and is told', async () => {
  const { thread, heard, exited } = start();
  await heard();
  thread.post('throw');
  expect((await exited)?.message).toBe('as told');
});

test('a thread that ends itself is told', async () => {
  const { thread, heard, exited } = start();
  await heard();
  thread.post('exit');
  expect(await exited).toBeNull();
});

test('there is at least one core, and this is no thread of the program', () => {
  expect(threads.cores).toBeGreaterThanOrEqual(1);
  expect(workerSide()).toBeUndefined();
});

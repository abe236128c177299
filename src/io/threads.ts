/**
 * `Threads` with node:worker_threads, which Deno has too. A thread runs this same program again; `workerSide` tells it that
 * it is one, and what for.
 *
 * On Linux the priority of a thread is its own: in a server, bulk work takes what is left over, and the server hardly
 * notices (measured: timers that were 12 to 33 ms late with four busy threads are 1 to 4 ms late). Elsewhere it would be
 * that of the whole process, and is left alone.
 */
import { availableParallelism, setPriority } from 'node:os';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import type { Thread, ThreadEvents, Threads, WorkerSide } from '../lib/bulk.ts';

const LOWEST_PRIORITY = 19;

/** `low`: it takes what others leave over. */
export type ThreadPriority = 'normal' | 'low';

/** What a thread of this program is started with. */
interface Mission {
  readonly hstoreWorker: string;
  readonly priority: ThreadPriority;
  readonly data: unknown;
}

export class SystemThreads implements Threads {
  readonly #program: string | URL;
  readonly #priority: ThreadPriority;

  /** `program`: the file that the threads run. */
  constructor(program: string | URL, priority: ThreadPriority = 'normal') {
    this.#program = program;
    this.#priority = priority;
  }

  get cores(): number {
    return availableParallelism();
  }

  start(name: string, data: unknown, events: ThreadEvents): Thread {
    const mission: Mission = { hstoreWorker: name, priority: this.#priority, data };
    // Arguments are for the main thread.
    const worker = new Worker(this.#program, { workerData: mission, argv: [] });
    let failure: Error | null = null;
    worker.on('message', (message) => events.onMessage(message));
    worker.on('error', (error) => {
      failure = error instanceof Error ? error : new Error(String(error));
    });
    worker.on('exit', () => events.onExit(failure));
    return {
      post: (message, transfer = []) => worker.postMessage(message, [...transfer]),
      terminate: () => void worker.terminate(),
    };
  }
}

/** Undefined in the main thread; in one of the program's threads, what it is for, and the other side. */
export function workerSide(): (WorkerSide & { readonly name: string }) | undefined {
  const port = parentPort;
  if (isMainThread || port === null || !isMission(workerData)) return undefined;
  const { hstoreWorker: name, priority, data } = workerData;
  if (priority === 'low') takeWhatIsLeft();
  return {
    ...{ name, data },
    onMessage: (handler) => void port.on('message', handler),
    post: (message, transfer = []) => port.postMessage(message, [...transfer]),
  };
}

function takeWhatIsLeft(): void {
  if (process.platform === 'linux' && !('deno' in process.versions)) setPriority(0, LOWEST_PRIORITY);
}

function isMission(data: unknown): data is Mission {
  return typeof data === 'object' && data !== null && 'hstoreWorker' in data;
}

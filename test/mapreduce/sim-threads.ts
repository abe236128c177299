/** `Threads` in virtual time: workers that do naively what they are told, and what else a test wants of them. */
import type { BulkFiles, Thread, ThreadEvents, Threads } from '../../src/lib/bulk.ts';
import type { JobSpec, Task, TaskFailure } from '../../src/mapreduce/tasks.ts';
import { type FromWorker, MAPREDUCE_WORKER, type ToWorker } from '../../src/mapreduce/worker-protocol.ts';
import type { Life, Scheduler } from '../sim/scheduler.ts';
import { runNaively } from './naive-task.ts';

/** What comes of an attempt. */
export type Fate =
  | { readonly kind: 'done'; readonly afterMs: number }
  | { readonly kind: 'dies' }
  | { readonly kind: 'hangs' }
  | { readonly kind: 'fails'; readonly failure: TaskFailure };

const BOOT_MS = 20;
const MESSAGE_MS = 0.05;
const EXIT_MS = 5;

export class SimThreads implements Threads {
  readonly cores: number;
  readonly attempts: Task[] = [];
  alive = 0;
  started = 0;
  mostAlive = 0;
  /** Of the attempts, by order of their beginning. */
  fate: (task: Task, thread: number) => Fate = () => ({ kind: 'done', afterMs: 10 });
  /** What a new worker says first. */
  greeting: (thread: number) => FromWorker | 'dies' | 'hangs' = () => ({ kind: 'ready' });
  /** What a new worker is started with. */
  onSpec: (spec: JobSpec) => void = () => {};
  readonly #scheduler: Scheduler;
  readonly #files: BulkFiles;

  constructor(scheduler: Scheduler, files: BulkFiles, cores = 2) {
    this.#scheduler = scheduler;
    this.#files = files;
    this.cores = cores;
  }

  start(name: string, data: unknown, events: ThreadEvents): Thread {
    if (name !== MAPREDUCE_WORKER) throw new Error(`no worker is called ${name}`);
    const spec = data as JobSpec;
    this.onSpec(spec);
    const thread = this.started++;
    const life: Life = { alive: true, paused: false, held: [] };
    this.mostAlive = Math.max(this.mostAlive, ++this.alive);
    const after = (ms: number, run: () => void) => this.#scheduler.after(ms, life, run, true);
    const say = (message: FromWorker) => after(MESSAGE_MS, () => events.onMessage(message));
    const end = (error: Error | null): void => {
      if (!life.alive) return;
      life.alive = false;
      const exit = () => {
        this.alive--;
        events.onExit(error);
      };
      this.#scheduler.after(EXIT_MS, undefined, exit, true);
    };
    const greeting = this.greeting(thread);
    if (greeting === 'dies') after(BOOT_MS, () => end(new Error('no memory')));
    else if (greeting !== 'hangs') after(BOOT_MS, () => say(greeting));
    const execute = (task: Task): void => {
      this.attempts.push(task);
      const { attempt } = task;
      const fate = this.fate(task, thread);
      if (fate.kind === 'dies') after(1, () => end(new Error('out of memory')));
      if (fate.kind === 'fails') after(1, () => say({ kind: 'failed', attempt, failure: fate.failure }));
      if (fate.kind !== 'done') return;
      after(fate.afterMs, () => {
        say({ kind: 'progress', attempt, bytes: 1 });
        say({ kind: 'done', attempt, done: runNaively(spec, task, this.#files) });
      });
    };
    return {
      post: (message) => after(MESSAGE_MS, () => execute((message as ToWorker).task)),
      terminate: () => end(null),
    };
  }
}

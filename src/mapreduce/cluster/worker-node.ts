/**
 * A server as a worker: has slots for attempts, asks the coordinator for orders (pull, as in the paper), carries them out,
 * and tells what has come of them until it hears that this is known.
 *
 *   woken, an attempt has ended, or 250 ms while there are jobs --> report --> orders: start, abort, settled, active
 *
 * A server without jobs asks nobody anything. Whatever is lost on the way, a question or an answer, the next report says
 * what this server really does, and the coordinator goes by that. What belongs to jobs that are not active any more (files,
 * views, threads, ends that nobody asks for) is dropped when the coordinator has said so.
 */
import { Buffer } from 'node:buffer';
import type { Timer } from '../../lib/env.ts';
import { viewName } from './active-job.ts';
import { nameOf } from './coordinator.ts';
import {
  type ActiveBrief,
  type Answer,
  type AttemptEnd,
  decodeMessage,
  type EndedAttempt,
  encodeMessage,
  type Order,
  type Orders,
  type Report,
} from './messages.ts';
import type { JobId } from './records.ts';
import type { ShuffleSide } from './shuffle-side.ts';
import { jobDirectory, Slot, type SlotOptions, secretBytes } from './slot.ts';

export interface WorkerNodeOptions extends Omit<SlotOptions, 'onEnd'> {
  readonly slots: number;
  readonly shuffle: ShuffleSide;
}

/** While there are jobs. */
export const POLL_MS = 250;
const VIEWS_EVERY_MS = 10_000;
const RUN_BYTES = 8;
/** A question has a limit. */
const ENDED_BYTES_MAX = 1 << 20;

export class WorkerNode {
  readonly #options: WorkerNodeOptions;
  readonly #slots: readonly Slot[];
  readonly #run: string;
  #seq = 0;
  #ended: EndedAttempt[] = [];
  #active: ReadonlyMap<JobId, ActiveBrief> = new Map();
  /** The largest that there has been: a smaller one that is not active is over. */
  #lastJob = 0;
  /** It is not known whether there are jobs. */
  #curious: boolean;
  #asking = false;
  /** Something has happened since it was asked. */
  #again = false;
  #timer: Timer | undefined;
  #viewTimer: Timer | undefined;
  #stopped = false;
  /** Of attempts, since the server was started. */
  readonly counts = { done: 0, failed: 0, unable: 0, unfetched: 0 };

  constructor(options: WorkerNodeOptions) {
    this.#options = options;
    const onEnd = (order: Order, end: AttemptEnd | undefined) => this.#onEnd(order, end);
    this.#slots = Array.from({ length: options.slots }, () => new Slot({ ...options, onEnd }));
    this.#run = Buffer.from(options.host.random.bytes(RUN_BYTES)).toString('hex');
    this.#curious = !options.shuffle.isSwept;
    if (this.#curious) this.#askIn(POLL_MS);
    this.#lookAtViews();
  }

  get busy(): number {
    return this.#slots.filter(({ running }) => running !== undefined).length;
  }

  /** There may be something to do. */
  wake(): void {
    this.#curious = true;
    this.#ask();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#viewTimer?.cancel();
    for (const slot of this.#slots) slot.close();
  }

  get #hasInterest(): boolean {
    return this.#curious || this.#active.size > 0 || this.#ended.length > 0 || this.busy > 0;
  }

  /** One that the log has made again, after a restart or on a newcomer, may be of a job that is over. */
  #lookAtViews(): void {
    this.#viewTimer = this.#options.host.clock.after(VIEWS_EVERY_MS, () => {
      if (!this.#hasInterest && this.#options.host.views.some((view) => VIEW.test(view))) this.wake();
      this.#lookAtViews();
    });
  }

  // Asking

  #askIn(delayMs: number): void {
    this.#timer?.cancel();
    if (this.#stopped) return;
    this.#timer = this.#options.host.clock.after(delayMs, () => this.#ask());
  }

  #ask(): void {
    if (this.#stopped) return;
    if (this.#asking) {
      this.#again = true;
      return;
    }
    const { host } = this.#options;
    const { leader } = host;
    if (leader === 0) return this.#askIn(POLL_MS);
    this.#asking = true;
    this.#again = false;
    this.#timer?.cancel();
    host.call(leader, encodeMessage({ ask: 'next', report: this.#report() }), (payload) => {
      if (this.#stopped) return;
      const answer = payload === undefined ? undefined : decodeMessage<Answer>(payload);
      if (answer?.answer === 'orders') this.#obey(answer);
      // What has ended by obeying is told when all orders have been begun.
      this.#asking = false;
      if (this.#again) this.#ask();
      else if (this.#hasInterest) this.#askIn(POLL_MS);
    });
  }

  #report(): Report {
    const { host, shuffle, slots } = this.#options;
    if (host.diskFull) this.#makeRoom();
    let bytes = 0;
    const ended = this.#ended.filter((each) => {
      bytes += JSON.stringify(each).length;
      return bytes <= ENDED_BYTES_MAX;
    });
    const running = this.#slots.flatMap((slot) => slot.running ?? []);
    return {
      ...{
        run: this.#run,
        seq: ++this.#seq,
        free: host.diskFull ? 0 : slots - running.length,
        running,
        ended,
      },
      shuffle: { host: host.self.host, port: shuffle.port },
      ...{ views: host.views, threads: host.diskFull ? 0 : slots },
    };
  }

  // Orders

  #obey({ start, abort, settled, active, lastJob }: Orders & { lastJob: JobId }): void {
    this.#curious = false;
    this.#lastJob = Math.max(this.#lastJob, lastJob);
    this.#setActive(active);
    const over = new Set(settled.map(nameOf));
    this.#ended = this.#ended.filter((ended) => !over.has(nameOf(ended)));
    const unwanted = new Set(abort.map(nameOf));
    for (const slot of this.#slots) {
      if (slot.running !== undefined && unwanted.has(nameOf(slot.running))) {
        slot.abort();
        this.#again = true;
      }
    }
    for (const order of start) this.#slotFor(order)?.start(order);
  }

  /** A free one that has the job's thread, or no thread, or any; undefined: the next report will tell that there is none. */
  #slotFor(order: Order): Slot | undefined {
    const free = this.#slots.filter(({ running }) => running === undefined);
    const name = jobDirectory(order);
    return free.find(({ job }) => job === name) ?? free.find(({ job }) => job === undefined) ?? free[0];
  }

  #onEnd(order: Order, end: AttemptEnd | undefined): void {
    if (this.#stopped) return;
    if (end !== undefined) {
      this.counts[end.end]++;
      this.#logEnd(order, end);
      const { job, epoch, phase, task, attempt } = order;
      this.#ended.push({ job, epoch, phase, task, attempt, ...end });
    }
    this.#ask();
  }

  #logEnd({ job, phase, task }: Order, end: AttemptEnd): void {
    if (end.end === 'done') return;
    const reason = end.end === 'unfetched' ? end.message : end.failure.message;
    this.#options.host.log.verbose('a task has failed', { job, phase, task, reason });
  }

  // What is active

  /** Intermediate files can be made again; and without room nothing can be written, not even that a job has ended. */
  #makeRoom(): void {
    for (const slot of this.#slots) slot.close();
    this.#ended = [];
    this.#options.shuffle.serve(new Map());
  }

  #setActive(active: Orders['active']): void {
    const { shuffle, host } = this.#options;
    this.#active = new Map(active.map((brief) => [brief.job, brief]));
    const names = new Map(active.map((brief) => [jobDirectory(brief), secretBytes(brief.secret)]));
    for (const slot of this.#slots) {
      if (slot.job !== undefined && !names.has(slot.job)) slot.close();
    }
    this.#ended = this.#ended.filter(({ job, epoch }) => this.#active.get(job)?.epoch === epoch);
    for (const view of host.views) if (this.#isOver(view)) host.release(view);
    shuffle.serve(host.diskFull ? new Map() : names);
  }

  /** A view may be there before the job is told to read it, but not before there is the job. */
  #isOver(view: string): boolean {
    const found = orderOf(view);
    if (found === undefined) return false;
    const active = this.#active.get(found.job);
    if (active === undefined) return found.job <= this.#lastJob;
    const current = active.view === undefined ? undefined : orderOf(active.view);
    if (current === undefined) return false;
    return found.reign < current.reign || (found.reign === current.reign && found.count < current.count);
  }
}

/** Which of two views is the newer one; undefined: it is none of ours. */
function orderOf(view: string): { job: number; reign: number; count: number } | undefined {
  const [, job, reign, count] = VIEW.exec(view) ?? [];
  if (job === undefined) return undefined;
  return { job: Number(job), reign: Number(reign), count: Number(count) };
}

const VIEW = new RegExp(`^${viewName(0, 0, 0).replaceAll('0', '(\\d+)')}$`);

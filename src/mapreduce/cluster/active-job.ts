/**
 * A job that is under way, as the coordinator has it: what the facts say (fact in, state out; the same on whichever server
 * folds them), and what only this coordinator's memory knows: who works on what, and where an attempt has failed.
 *
 * After Dean & Ghemawat 2004, section 3.3: a completed map task whose output is lost is done again, a completed reduce task
 * is not, for its output is in the store.
 */
import { Buffer } from 'node:buffer';
import { assert } from '../../lib/assert.ts';
import { SLOTS } from '../../server/service.ts';
import {
  type Assignment,
  ATTEMPTS_MAX,
  type JobFailure,
  Master,
  type Phase,
  type RunningAttempt,
} from '../master.ts';
import { splitBytesOf } from '../splits.ts';
import type { Counters, TaskDone, TaskFailure } from '../tasks.ts';
import type { AttemptEnd, ClusterSplit, JobBrief, JobProgress, Source } from './messages.ts';
import { type Fact, type JobRecord, type JobResult, mapCount } from './records.ts';

export interface ClusterDone extends TaskDone {
  readonly attempt: number;
  /** The server that did it. */
  readonly node: number;
  /** Of a part of the result. */
  readonly chunks: number;
  /** Of a map task over stored keys. */
  readonly inputBytes: number;
}

/** The server that has tried, and those that could do it instead. */
interface TriedAt {
  readonly node: number;
  readonly others: readonly number[];
}

/** Attempts of one coordinator and job: numbers are never used twice, by no coordinator. */
const ATTEMPTS_PER_REIGN = 2 ** 20;
/** Of a job on one server: then it is given work only if there is nobody else. */
const NODE_FAILURES_MAX = 3;
/** Fetches from a server which is alive that fail, until it is taken for lost. */
const COMPLAINTS_MAX = 2;
/** Attempts of a reduce task that could not have their input, one after the other. */
const UNFETCHED_MAX = 8;
const TIMES_FULL_MAX = 3;
/** Of a job: the list of all jobs has them. */
const COUNTERS_MAX = 50;

export class ActiveJob {
  readonly record: JobRecord;
  /** Of its record, in the store. */
  readonly recordVersion: number;
  readonly #reign: number;
  #epoch: number;
  #view: string | undefined;
  #master: Master<ClusterDone>;
  /** Attempts that have ended, and whose fact is on its way into the log. */
  readonly #pending = new Map<string, number>();
  /** Of a task, the servers on which it has failed. */
  readonly #failedOn = new Map<string, Set<number>>();
  readonly #failuresOf = new Map<number, number>();
  /** Servers that cannot do anything of the job. */
  readonly #unable = new Set<number>();
  readonly #timesFull = new Map<number, number>();
  /** Of reduce tasks: attempts that could not have their input. */
  readonly #unfetched = new Map<number, number>();
  /** Of a server that is alive: the attempts that could not fetch from it. */
  readonly #complaints = new Map<number, number>();
  /** Attempts of reduce tasks that were told of map outputs which have been lost since. */
  readonly #outdated = new Set<number>();
  /** Of attempts under way. */
  readonly #bytes = new Map<number, number>();
  failedAttempts = 0;
  #mapBytesDone = 0;
  /** Since when no server has the view that is needed. */
  viewMissingSinceMs: number | undefined;
  /** A server has had the view of this epoch. */
  viewSeen = false;
  /** One is on its way. */
  isFreezing = false;
  /** Views that were lost when work had begun on them. */
  viewsLost = 0;
  /** Since when reduce tasks wait for somebody who can fetch. */
  unreachableSinceMs: number | undefined;
  #gaveUp: JobFailure | undefined;
  state: 'running' | 'ending' = 'running';

  constructor(record: JobRecord, recordVersion: number, reign: number) {
    this.record = record;
    this.recordVersion = recordVersion;
    this.#reign = reign;
    // Stored keys are read when the job's turn has come, and there is a view of them.
    this.#epoch = record.input.kind === 'files' ? 1 : 0;
    this.#master = this.#newMaster();
  }

  get id(): number {
    return this.record.id;
  }

  get epoch(): number {
    return this.#epoch;
  }

  get phase(): Phase | 'done' | 'failed' {
    return this.#gaveUp === undefined ? this.#master.phase : 'failed';
  }

  get failure(): JobFailure | undefined {
    return this.#gaveUp ?? this.#master.failure;
  }

  /** Some of it was done, or is. */
  get hasBegun(): boolean {
    return this.#master.running.length + this.#master.doneCount('map') > 0;
  }

  /** Of so many names at most. */
  get counters(): Counters {
    const all = Object.entries(this.#master.counters).sort(([a], [b]) => (a < b ? -1 : 1));
    if (all.length <= COUNTERS_MAX) return Object.fromEntries(all);
    return Object.fromEntries([
      ...all.slice(0, COUNTERS_MAX),
      ['counters left out', all.length - COUNTERS_MAX],
    ]);
  }

  get readsKeys(): boolean {
    return this.record.input.kind === 'keys';
  }

  /** The view that its map tasks read, once there is one. */
  get view(): string | undefined {
    return this.#view;
  }

  get brief(): JobBrief {
    const { job, args, reducers, memoryBytes, secret } = this.record;
    return { job, args, reducers, memoryBytes, secret, recordVersion: this.recordVersion };
  }

  /** All must be done. */
  get result(): JobResult {
    const parts = Array.from({ length: this.record.reducers }, (_, task) => {
      const done = this.#master.doneOf('reduce', task);
      assert(done !== undefined, 'a job has a result when all its parts are there', this.id, task);
      return [done.attempt, done.chunks, done.bytes] as const;
    });
    return { parts };
  }

  /** Of the parts that are there. */
  get resultBytes(): number {
    let sum = 0;
    for (let task = 0; task < this.record.reducers; task++)
      sum += this.#master.doneOf('reduce', task)?.bytes ?? 0;
    return sum;
  }

  get progress(): JobProgress {
    const master = this.#master;
    const running = master.running;
    const of = (phase: Phase) => ({
      ...{ done: master.doneCount(phase), of: master.count(phase) },
      running: running.filter((each) => each.phase === phase).length,
    });
    const [maps, reduces] = [of('map'), of('reduce')];
    const begun = maps.done + maps.running + reduces.done + reduces.running > 0;
    const { phase } = master;
    return {
      phase: phase === 'done' ? 'commit' : phase === 'failed' || !begun ? 'queued' : phase,
      ...{ maps, reduces, failedAttempts: this.failedAttempts, epoch: this.#epoch },
      bytes: { done: this.bytesDone, of: this.record.bytes },
    };
  }

  // Facts

  /** A fact that is in the log, or comes from it. The other attempts of its task, which need not go on. */
  apply(fact: Fact, nowMs: number): readonly RunningAttempt[] {
    if (fact.fact !== 'epoch' && fact.epoch !== this.#epoch) return [];
    switch (fact.fact) {
      case 'map':
      case 'reduce': {
        const { fact: phase, task, attempt, node, bytes, counters } = fact;
        this.#pending.delete(taskName(phase, task));
        const chunks = fact.fact === 'reduce' ? fact.chunks : 0;
        const inputBytes = fact.fact === 'map' ? fact.inputBytes : 0;
        const done = { attempt, node, bytes, counters, chunks, inputBytes, file: '' };
        const { counts, abort } = this.#master.settle({ phase, task, attempt }, done, nowMs);
        if (counts && phase === 'map') this.#mapBytesDone += this.#inputBytes(task);
        if (counts && phase === 'reduce') this.#unfetched.delete(task);
        return abort;
      }
      case 'maps-lost':
        for (const task of fact.tasks) {
          if (this.#master.doneOf('map', task) !== undefined) this.#mapBytesDone -= this.#inputBytes(task);
        }
        this.#master.mapLost(fact.tasks);
        for (const { phase, attempt } of this.#master.running) {
          if (phase === 'reduce') this.#outdated.add(attempt);
        }
        return [];
      case 'epoch':
        this.#epoch = fact.epoch;
        this.#view = fact.view;
        this.isFreezing = false;
        this.#master = this.#newMaster();
        this.#pending.clear();
        this.#outdated.clear();
        this.#mapBytesDone = 0;
        this.viewMissingSinceMs = undefined;
        this.viewSeen = false;
        return [];
    }
  }

  // Attempts

  /**
   * What the server is to do next of this job. Where something has failed it is tried again only when it has failed
   * everywhere: `others` are the servers that could do it instead. `may`: whether it can do such tasks at all.
   */
  next(
    node: number,
    nowMs: number,
    {
      others,
      may,
    }: { others: Readonly<Record<Phase, readonly number[]>>; may: Readonly<Record<Phase, boolean>> },
  ): Assignment | undefined {
    if (this.state !== 'running' || this.#gaveUp !== undefined || this.#unable.has(node)) return undefined;
    const failuresOf = (server: number) => this.#failuresOf.get(server) ?? 0;
    const isBad = (server: number) => this.#unable.has(server) || failuresOf(server) >= NODE_FAILURES_MAX;
    return this.#master.next(node, nowMs, (phase, task) => {
      if (!may[phase]) return false;
      const failedOn = this.#failedOn.get(taskName(phase, task));
      const isFirstChoice = failedOn?.has(node) !== true && !isBad(node);
      return isFirstChoice || others[phase].every((other) => failedOn?.has(other) === true || isBad(other));
    });
  }

  /** Whether the task's output is known, or on its way into the log. */
  isSettled(phase: Phase, task: number): 'done' | 'pending' | undefined {
    if (this.#master.doneOf(phase, task) !== undefined) return 'done';
    return this.#pending.has(taskName(phase, task)) ? 'pending' : undefined;
  }

  /** Its fact is on its way into the log. */
  pending(phase: Phase, task: number, attempt: number): void {
    this.#pending.set(taskName(phase, task), attempt);
  }

  /** `at`: the server, and others that could do it instead. */
  failed({ attempt, task, phase }: Assignment, at: TriedAt, failure: TaskFailure, nowMs: number): void {
    if (!this.isRunning(attempt)) return;
    const { node, others } = at;
    this.failedAttempts++;
    const failedOn = this.#avoid(phase, task, node);
    this.#failuresOf.set(node, (this.#failuresOf.get(node) ?? 0) + 1);
    // What is wrong on one server need not be so on another: each of them may try.
    const isLocal = failure.local === true;
    const untried = isLocal ? others.filter((other) => !failedOn.has(other)).length : 0;
    const deterministic = failure.deterministic && !isLocal;
    this.#failTask(attempt, { ...failure, deterministic }, nowMs, ATTEMPTS_MAX + untried);
  }

  /** The server can do nothing of the job. That ends it when no other can. */
  unable({ attempt }: Assignment, { node, others }: TriedAt, failure: TaskFailure, nowMs: number): void {
    // Of an attempt of another coordinator: the next one will tell it again.
    if (!this.isRunning(attempt)) return;
    this.#unable.add(node);
    if (others.some((other) => !this.#unable.has(other))) return this.lost(attempt);
    this.#failTask(attempt, { ...failure, deterministic: true }, nowMs);
  }

  isUnable(node: number): boolean {
    return this.#unable.has(node);
  }

  /**
   * Its disk has run full while the job was under way, and what it had of the job was removed. A server where that happens
   * again and again does no more of it; the job has failed when there is no other.
   */
  ranFull(node: number, others: readonly number[]): void {
    const times = (this.#timesFull.get(node) ?? 0) + 1;
    this.#timesFull.set(node, times);
    if (!this.hasBegun || times < TIMES_FULL_MAX) return;
    this.#unable.add(node);
    if (others.some((other) => !this.#unable.has(other))) return;
    this.giveUp(`the disk of a server has run full ${times} times while the job was under way`);
  }

  /** The server was started again, with other flags perhaps. */
  forgive(node: number): void {
    this.#unable.delete(node);
    this.#timesFull.delete(node);
    this.#failuresOf.delete(node);
  }

  /** Nobody can go on with it. */
  giveUp(message: string): void {
    const failure = { message, deterministic: true };
    this.#gaveUp ??= { phase: 'reduce', task: 0, attempts: 0, failure };
  }

  #failTask(attempt: number, failure: TaskFailure, nowMs: number, attemptsMax?: number): void {
    this.#forget(attempt);
    this.#master.failed(attempt, failure, nowMs, attemptsMax);
  }

  /** The task is for other servers, if there are any that have not failed it. Those that have. */
  #avoid(phase: Phase, task: number, node: number): ReadonlySet<number> {
    const name = taskName(phase, task);
    const failedOn = (this.#failedOn.get(name) ?? new Set()).add(node);
    this.#failedOn.set(name, failedOn);
    return failedOn;
  }

  /** The tasks whose outputs are lost, when a task could not fetch from the server. */
  unfetched(
    { phase, task, attempt }: Assignment,
    by: number,
    from: AttemptEnd & { end: 'unfetched' } & { isAlive: boolean },
    nowMs: number,
  ): readonly number[] {
    if (!this.isRunning(attempt)) return [];
    const times = (this.#unfetched.get(task) ?? 0) + 1;
    this.#unfetched.set(task, times);
    if (times >= UNFETCHED_MAX) {
      const message = `map outputs cannot be fetched: ${from.message}`;
      this.#failTask(attempt, { message, deterministic: true }, nowMs);
      return [];
    }
    this.lost(attempt);
    if (from.maps.length > 0) {
      return from.maps.flatMap(([map, made]) => (this.#isAt(map, made, from.node) ? [map] : []));
    }
    // It may be the way between the two: another server is to try, for this one would ask again at once.
    this.#avoid(phase, task, by);
    const complaints = (this.#complaints.get(from.node) ?? 0) + 1;
    this.#complaints.set(from.node, complaints);
    if (from.isAlive && complaints < Math.min(COMPLAINTS_MAX, this.record.reducers)) return [];
    this.#complaints.delete(from.node);
    return this.outputsOf(from.node);
  }

  /** The map tasks whose outputs lie on the server. None when nobody needs them any more. */
  outputsOf(node: number): number[] {
    return this.#outputs.flatMap(({ task, at }) => (at === node ? [task] : []));
  }

  /** The servers on which there are outputs that are needed. */
  get holders(): ReadonlySet<number> {
    return new Set(this.#outputs.map(({ at }) => at));
  }

  get #outputs(): { readonly task: number; readonly at: number }[] {
    if (this.phase === 'failed' || this.#master.doneCount('reduce') === this.record.reducers) return [];
    return Array.from({ length: this.#master.count('map') }, (_, task) => task).flatMap((task) => {
      const at = this.#master.doneOf('map', task)?.node;
      return at === undefined ? [] : [{ task, at }];
    });
  }

  #isAt(map: number, attempt: number, node: number): boolean {
    const done = this.hasTask('map', map) ? this.#master.doneOf('map', map) : undefined;
    return done?.node === node && done.attempt === attempt;
  }

  /** What a message says may be of no task at all. */
  hasTask(phase: Phase, task: number): boolean {
    return Number.isInteger(task) && task >= 0 && task < this.#master.count(phase);
  }

  isRunning(attempt: number): boolean {
    return this.#master.running.some((each) => each.attempt === attempt);
  }

  /** An attempt of another coordinator is under way there. False: it need not go on. */
  adopt(assignment: Assignment, node: number, nowMs: number): boolean {
    return this.#master.adopt(assignment, node, nowMs);
  }

  /** What it was told to fetch is lost: another attempt, with other sources, will be sooner. */
  isOutdated(attempt: number): boolean {
    return this.#outdated.has(attempt);
  }

  runningOn(node: number): readonly Assignment[] {
    return this.#master.running.filter(({ worker }) => worker === node);
  }

  /** Through no fault of the task. */
  lost(attempt: number): void {
    this.#forget(attempt);
    this.#master.lost(attempt);
  }

  #forget(attempt: number): void {
    this.#bytes.delete(attempt);
    this.#outdated.delete(attempt);
  }

  noteBytes(attempt: number, bytes: number): void {
    this.#bytes.set(attempt, bytes);
  }

  // What an attempt needs

  splitOf(task: number): ClusterSplit {
    const { input } = this.record;
    if (input.kind === 'files') return input.splits[task]!;
    const { db, pattern, splits } = input;
    const slot = (i: number) => Math.floor((SLOTS * i) / splits);
    const range = { fromSlot: slot(task), toSlot: slot(task + 1) };
    assert(this.#view !== undefined, 'stored keys are read from a view', this.id);
    return { kind: 'keys', view: this.#view, db, pattern, ...range };
  }

  /** Of all map tasks, which must be done. */
  get sources(): Source[] {
    return Array.from({ length: this.#master.count('map') }, (_, map) => {
      const done = this.#master.doneOf('map', map);
      assert(done !== undefined, 'a reduce task begins when all map tasks are done', this.id, map);
      return [map, done.attempt, done.node] as const;
    });
  }

  /** Of a map task that is done. */
  #inputBytes(task: number): number {
    const { input } = this.record;
    if (input.kind === 'files') return splitBytesOf(input.splits[task]!);
    return this.#master.doneOf('map', task)?.inputBytes ?? 0;
  }

  /** Of the input. */
  get bytesDone(): number {
    let sum = this.#mapBytesDone;
    for (const { attempt, phase } of this.#master.running) {
      if (phase === 'map') sum += this.#bytes.get(attempt) ?? 0;
    }
    return this.record.input.kind === 'files' ? Math.min(sum, this.record.bytes) : sum;
  }

  #newMaster(): Master<ClusterDone> {
    const last = this.#reign * ATTEMPTS_PER_REIGN + ((this.#master?.lastAttempt ?? 0) % ATTEMPTS_PER_REIGN);
    return new Master(mapCount(this.record), this.record.reducers, last);
  }
}

function taskName(phase: Phase, task: number): string {
  return `${phase} ${task}`;
}

/** Never used twice: `reign` is that of the coordinator, `count` grows in it. */
export function viewName(id: number, reign: number, count: number): string {
  return `mr-${id}-${reign}-${count}`;
}

/** Of the pattern or prefix of a record. */
export function fromBase64(text: string): Buffer {
  return Buffer.from(text, 'base64');
}

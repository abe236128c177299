/**
 * What servers say to each other about jobs: questions to the coordinator, which runs on the leader, and its answers. JSON.
 *
 *   next      a server tells what it does, and gets orders: the workers' pull, and their sign of life
 *   submit, cancel, remove, jobs      what clients ask for
 *   wake      from the coordinator: there is something to do, ask now
 */
import { Buffer } from 'node:buffer';
import type { JobName, Split, TaskDone, TaskFailure } from '../tasks.ts';
import type { JobId, JobOrderRecord, JobSummary } from './records.ts';

/** An attempt, by what makes it unique. */
export interface AttemptId {
  readonly job: JobId;
  readonly epoch: number;
  readonly phase: 'map' | 'reduce';
  readonly task: number;
  readonly attempt: number;
}

export interface RunningAttempt extends AttemptId {
  /** Of its input, so far. */
  readonly bytes: number;
  /** Of a reduce task: it does not yet have all its input. */
  readonly fetching?: boolean;
}

/** What has come of an attempt. */
export type AttemptEnd =
  | {
      readonly end: 'done';
      readonly done: TaskDone;
      /** Of a part of the result. */
      readonly chunks: number;
      /** Of a map task over stored keys, which nobody knows before. */
      readonly inputBytes: number;
    }
  | { readonly end: 'failed'; readonly failure: TaskFailure }
  /** This server cannot do anything of the job. */
  | { readonly end: 'unable'; readonly failure: TaskFailure }
  /** These outputs cannot be had from that server; `maps` empty: nothing can be had from it. */
  | {
      readonly end: 'unfetched';
      readonly node: number;
      readonly maps: readonly (readonly [map: number, attempt: number])[];
      readonly message: string;
    };

export type EndedAttempt = AttemptId & AttemptEnd;

export interface Report {
  /** New for each life of a server. */
  readonly run: string;
  /** Grows from report to report. */
  readonly seq: number;
  /** Threads that have nothing to do. */
  readonly free: number;
  readonly running: readonly RunningAttempt[];
  /** Told again and again, until they are settled. */
  readonly ended: readonly EndedAttempt[];
  /** Where map outputs can be had; port 0: not yet. */
  readonly shuffle: { readonly host: string; readonly port: number };
  readonly views: readonly string[];
  /** That work; 0: there is no room for what they would make. */
  readonly threads: number;
}

/** What a worker needs to know of a job. */
export interface JobBrief {
  readonly job: JobName;
  readonly args: Readonly<Record<string, string>>;
  readonly reducers: number;
  readonly memoryBytes: number;
  readonly secret: string;
  /** Of the job's record: while it holds, the job is active. */
  readonly recordVersion: number;
}

export type ClusterSplit =
  | Split
  | {
      readonly kind: 'keys';
      readonly view: string;
      readonly db: number;
      readonly pattern: string;
      readonly fromSlot: number;
      readonly toSlot: number;
    };

/** A map task's output: [task, attempt, server]. */
export type Source = readonly [map: number, attempt: number, node: number];

export interface Order extends AttemptId {
  readonly brief: JobBrief;
  /** Of a map task. */
  readonly split?: ClusterSplit;
  /** Of a reduce task, in the order of the map tasks. */
  readonly sources?: readonly Source[];
  /** Of a reduce task: where the servers' outputs can be had. */
  readonly addresses?: readonly (readonly [node: number, host: string, port: number])[];
}

export interface ActiveBrief {
  readonly job: JobId;
  readonly epoch: number;
  readonly secret: string;
  /** Of the keys; undefined: there is none (yet). */
  readonly view?: string;
}

export interface Orders {
  readonly start: readonly Order[];
  /** Need not go on. */
  readonly abort: readonly AttemptId[];
  /** Need not be told again. */
  readonly settled: readonly AttemptId[];
  /** Jobs that are active: files, views and threads of all others, and of other epochs, can go. */
  readonly active: readonly ActiveBrief[];
}

export interface JobProgress {
  readonly phase: 'queued' | 'map' | 'reduce' | 'commit';
  readonly maps: { readonly done: number; readonly running: number; readonly of: number };
  readonly reduces: { readonly done: number; readonly running: number; readonly of: number };
  readonly bytes: { readonly done: number; readonly of: number };
  readonly failedAttempts: number;
  readonly epoch: number;
}

export type JobView = JobSummary & { readonly progress?: JobProgress };

export type Question =
  | { readonly ask: 'next'; readonly report: Report }
  | { readonly ask: 'submit'; readonly order: JobOrderRecord }
  | { readonly ask: 'cancel' | 'remove'; readonly id: JobId }
  /** All jobs, or one. */
  | { readonly ask: 'jobs'; readonly id?: JobId }
  | { readonly ask: 'wake' };

export type Answer =
  /** `lastJob`: the largest id that a job has had. */
  | ({ readonly answer: 'orders'; readonly lastJob: JobId } & Orders)
  | { readonly answer: 'submitted'; readonly id: JobId }
  /** Whether anything was changed. */
  | { readonly answer: 'changed'; readonly changed: boolean }
  | { readonly answer: 'jobs'; readonly jobs: readonly JobView[] }
  | { readonly answer: 'awake' }
  /** A client's mistake, or a limit. */
  | { readonly answer: 'refused'; readonly message: string }
  /** Ask whoever leads; nothing was done. */
  | { readonly answer: 'not-coordinator' };

export function encodeMessage(message: Question | Answer): Buffer {
  return Buffer.from(JSON.stringify(message));
}

/** Undefined: it makes no sense. Servers of one cluster are of one version, or are told apart before. */
export function decodeMessage<T extends Question | Answer>(payload: Uint8Array): T | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(payload).toString('utf8'));
    return isRecord(value) ? (value as unknown as T) : undefined;
  } catch {
    return undefined;
  }
}

/** A question that somebody else has sent. Undefined: it has not the shape of one. */
export function decodeQuestion(payload: Uint8Array): Question | undefined {
  const question = decodeMessage<Question>(payload);
  return question !== undefined && isQuestion(question) ? question : undefined;
}

function isQuestion(question: Question): boolean {
  switch (question.ask) {
    case 'next':
      return isReport(question.report);
    case 'submit':
      return isRecord(question.order) && isRecord(question.order.input) && isRecord(question.order.out);
    case 'cancel':
    case 'remove':
      return Number.isSafeInteger(question.id);
    case 'jobs':
      return question.id === undefined || Number.isSafeInteger(question.id);
    case 'wake':
      return true;
    default:
      return false;
  }
}

function isReport(report: unknown): report is Report {
  if (!isRecord(report)) return false;
  const { run, seq, free, threads, running, ended, shuffle, views } = report;
  const areNumbers = [seq, free, threads].every((number) => Number.isSafeInteger(number));
  if (typeof run !== 'string' || !areNumbers || !isRecord(shuffle)) return false;
  if (!Array.isArray(running) || !Array.isArray(ended) || !Array.isArray(views)) return false;
  return running.every(isAttempt) && ended.every((each) => isAttempt(each) && isEnd(each));
}

function isAttempt(attempt: unknown): boolean {
  if (!isRecord(attempt)) return false;
  const { job, epoch, phase, task, attempt: number } = attempt;
  const isPhase = phase === 'map' || phase === 'reduce';
  return isPhase && [job, epoch, task, number].every((each) => Number.isSafeInteger(each));
}

function isEnd(ended: Record<string, unknown>): boolean {
  switch (ended.end) {
    case 'done':
      return isRecord(ended.done) && Number.isSafeInteger(ended.done.bytes) && isRecord(ended.done.counters);
    case 'failed':
    case 'unable':
      return isRecord(ended.failure) && typeof ended.failure.message === 'string';
    case 'unfetched':
      return Number.isSafeInteger(ended.node) && Array.isArray(ended.maps) && ended.maps.every(Array.isArray);
    default:
      return false;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

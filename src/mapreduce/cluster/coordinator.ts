/**
 * The coordinator: which server is to do what, for all jobs that are active. A pure state machine: it is told what servers
 * report and what time it is, and says what they are to do, and which facts are to be made durable. It acts on a fact only
 * when it is in the log, so whoever takes its place knows at least what it has built upon.
 *
 *   report --heard--> orders                 attempts that have ended --> pending facts --(log)--> apply
 *   tick   --------> servers that were not heard of for a lease: their attempts are lost, and their map outputs, all at once
 *
 * Jobs are served in the order in which they were submitted; what one has no use for goes to the next. What a report tells
 * holds until the next one: an attempt that a server was given and does not tell of has never reached it, one that it tells
 * of and this coordinator has never heard of was given by the one before, and goes on.
 *
 * After Dean & Ghemawat 2004, section 3.3; its master was one process, and its end the end of the job.
 */
import type { Assignment } from '../master.ts';
import { ActiveJob } from './active-job.ts';
import type { AttemptId, EndedAttempt, Order, Orders, Report } from './messages.ts';
import type { Fact, JobId, JobRecord } from './records.ts';

export interface PendingFact {
  readonly job: JobId;
  readonly fact: Fact;
}

interface Server {
  run: string;
  seq: number;
  heardMs: number;
  report: Report | undefined;
  /** When others could fetch from it last. */
  listenedMs: number;
  /** What was given up when it was not heard of. */
  lost: boolean;
}

/** A server that is not heard of for so long does not work any more, as far as the jobs go. */
export const LEASE_MS = 3000;
/** Without a server that has the view any more, for so long; or at all: it comes when a checkpoint is written. */
const VIEW_MISSING_MS_MAX = 5000;
const VIEW_COMING_MS_MAX = 30_000;
/** In one answer, which has a limit: of the orders but the last, as text. */
const ORDERS_BYTES_MAX = 1 << 20;
/** A thread that listens for others takes less to begin. */
const LISTEN_MS_MAX = 15_000;
/** Then a job whose map outputs nobody can fetch has failed. */
const UNREACHABLE_MS_MAX = 60_000;
/** Ticks that come so much late: this process stood still, and heard nobody. */
const LATE_MS = 1000;

export class Coordinator {
  readonly #reign: number;
  #beganMs: number;
  readonly #jobs = new Map<JobId, ActiveJob>();
  readonly #servers = new Map<number, Server>();
  /** Not yet handed to the log. */
  #facts: PendingFact[] = [];
  #aborts = new Map<number, AttemptId[]>();
  #tickedMs: number;

  /** `reign`: larger than that of every coordinator before. */
  constructor(reign: number, nowMs: number) {
    this.#reign = reign;
    this.#beganMs = nowMs;
    this.#tickedMs = nowMs;
  }

  get jobs(): readonly ActiveJob[] {
    return [...this.#jobs.values()];
  }

  job(id: JobId): ActiveJob | undefined {
    return this.#jobs.get(id);
  }

  /** A job that was submitted, or one that the log tells of, with its facts so far. In the order of their ids. */
  add(record: JobRecord, recordVersion: number, facts: readonly Fact[], nowMs: number): ActiveJob {
    const job = new ActiveJob(record, recordVersion, this.#reign);
    for (const fact of facts) job.apply(fact, nowMs);
    this.#jobs.set(record.id, job);
    return job;
  }

  /** It has ended, and the log knows. */
  remove(id: JobId): void {
    this.#jobs.delete(id);
    this.#facts = this.#facts.filter(({ job }) => job !== id);
  }

  /** Members that have not been heard of lately, and are to be asked for a report. */
  silent(members: readonly number[], nowMs: number): number[] {
    return members.filter(
      (id) => nowMs - (this.#servers.get(id)?.heardMs ?? Number.NEGATIVE_INFINITY) > LEASE_MS / 2,
    );
  }

  /** Servers that had nothing to do when they were heard of last. */
  get idle(): number[] {
    return [...this.#servers].flatMap(([id, { report, lost }]) =>
      !lost && (report?.free ?? 0) > 0 ? [id] : [],
    );
  }

  /** The job is to begin anew, on another view. */
  renew(id: JobId, epoch: number, view: string): void {
    this.#facts.push({ job: id, fact: { fact: 'epoch', epoch, view } });
  }

  // Reports

  /** Undefined: the report is older than one that was heard. */
  heard(node: number, report: Report, nowMs: number): Orders | undefined {
    const server = this.#serverOf(node);
    if (server.run === report.run && report.seq <= server.seq) return undefined;
    const isNew = server.run !== report.run;
    if (isNew) for (const job of this.#jobs.values()) job.forgive(node);
    if (report.threads === 0 && (server.report?.threads ?? 0) > 0) {
      for (const job of this.#jobs.values()) job.ranFull(node, this.#aliveBut(node, nowMs));
    }
    // After a time in which it had nothing to do its thread that listens begins anew, too.
    const isBack = nowMs - server.heardMs > LEASE_MS;
    Object.assign(server, { run: report.run, seq: report.seq, heardMs: nowMs, report, lost: false });
    if (isNew || isBack || report.shuffle.port !== 0) server.listenedMs = nowMs;
    const settled = report.ended.filter((ended) => this.#ended(node, ended, nowMs));
    const aborted = this.#compare(node, report, nowMs);
    const start = this.#orders(node, report, nowMs);
    const abort = [...aborted, ...(this.#aborts.get(node) ?? [])];
    this.#aborts.delete(node);
    const active = this.jobs.map(({ id: job, epoch, record: { secret }, view }) => ({
      ...{ job, epoch, secret },
      ...(view === undefined ? {} : { view }),
    }));
    return { start, abort, settled: settled.map(idOf), active };
  }

  /** Whether it need not be told again. */
  #ended(node: number, ended: EndedAttempt, nowMs: number): boolean {
    const job = this.#jobOf(ended);
    if (job === undefined || job.state !== 'running') return true;
    const { epoch, phase, task, attempt } = ended;
    const at = { node, others: this.#ableTo(job, nowMs).filter((other) => other !== node) };
    switch (ended.end) {
      case 'failed':
        job.failed(ended, at, ended.failure, nowMs);
        return true;
      case 'unable':
        job.unable(ended, at, ended.failure, nowMs);
        return true;
      case 'unfetched': {
        const isAlive = this.#isAlive(ended.node, nowMs);
        this.#mapsLost(job, job.unfetched(ended, node, { ...ended, isAlive }, nowMs));
        return true;
      }
      case 'done': {
        const settled = job.isSettled(phase, task);
        if (settled === 'done') job.lost(attempt);
        if (settled !== undefined) return settled === 'done';
        job.pending(phase, task, attempt);
        const { inputBytes, chunks } = ended;
        const { bytes, counters } = ended.done;
        const common = { epoch, task, attempt, node, bytes, counters };
        const fact: Fact =
          phase === 'map' ? { fact: 'map', ...common, inputBytes } : { fact: 'reduce', ...common, chunks };
        this.#facts.push({ job: job.id, fact });
        return false;
      }
    }
  }

  /** What it does beside what it should do. Attempts to be aborted. */
  #compare(node: number, report: Report, nowMs: number): AttemptId[] {
    const told = new Set([...report.running, ...report.ended].map(nameOf));
    for (const job of this.#jobs.values()) {
      for (const assignment of job.runningOn(node)) {
        if (!told.has(nameOf(attemptOf(job, assignment)))) job.lost(assignment.attempt);
      }
    }
    const aborted: AttemptId[] = [];
    for (const running of report.running) {
      const job = this.#jobOf(running);
      const isWanted =
        job !== undefined && (job.isRunning(running.attempt) || job.adopt(running, node, nowMs));
      if (isWanted && running.fetching === true && job.isOutdated(running.attempt)) {
        job.lost(running.attempt);
        aborted.push(idOf(running));
      } else if (isWanted) {
        job.noteBytes(running.attempt, running.bytes);
      } else {
        aborted.push(idOf(running));
      }
    }
    return aborted;
  }

  #orders(node: number, { free }: Report, nowMs: number): Order[] {
    const orders: Order[] = [];
    let bytes = 0;
    for (const job of this.#jobs.values()) {
      const mappers = this.#mappersOf(job, nowMs);
      const may = {
        map: mappers.includes(node),
        reduce: job.phase === 'reduce' && this.#canFetch(job, node),
      };
      const others = {
        map: mappers.filter((id) => id !== node),
        reduce: this.#ableTo(job, nowMs).filter((id) => id !== node),
      };
      while (orders.length < free && bytes < ORDERS_BYTES_MAX) {
        const assignment = job.next(node, nowMs, { others, may });
        if (assignment === undefined) break;
        const order = this.#orderOf(job, assignment);
        bytes += JSON.stringify(order).length;
        orders.push(order);
      }
    }
    return orders;
  }

  /** Who could do tasks of the job: alive, with threads, and not known for being unable. */
  #ableTo(job: ActiveJob, nowMs: number): number[] {
    return [...this.#servers].flatMap(([id, { report }]) => {
      const works = report !== undefined && report.threads > 0;
      return works && this.#isAlive(id, nowMs) && !job.isUnable(id) ? [id] : [];
    });
  }

  /** Who could do map tasks: with the view, and so that others can fetch what comes of them, if there is any such. */
  #mappersOf(job: ActiveJob, nowMs: number): number[] {
    const able = this.#ableTo(job, nowMs).filter((id) => isReadable(job, this.#viewsOf(id)));
    const within = able.filter((id) => !this.#isOutOfReach(id, nowMs));
    return within.length > 0 ? within : able;
  }

  /** A server that has just begun may not be heard of yet, or not listen yet: then a reduce task can wait. */
  #canFetch(job: ActiveJob, node: number): boolean {
    return [...job.holders].every((holder) => holder === node || this.#portOf(holder) !== 0);
  }

  #portOf(node: number): number {
    return this.#servers.get(node)?.report?.shuffle.port ?? 0;
  }

  /** Others cannot fetch from it, for longer than its thread takes to begin. */
  #isOutOfReach(node: number, nowMs: number): boolean {
    const server = this.#servers.get(node);
    return server?.report !== undefined && nowMs - server.listenedMs > LISTEN_MS_MAX;
  }

  #orderOf(job: ActiveJob, assignment: Assignment): Order {
    const order = { ...attemptOf(job, assignment), brief: job.brief };
    if (assignment.phase === 'map') return { ...order, split: job.splitOf(assignment.task) };
    const { sources } = job;
    const nodes = [...new Set(sources.map(([, , node]) => node))];
    const addresses = nodes.flatMap((id) => {
      const { host, port } = this.#servers.get(id)?.report?.shuffle ?? { host: '', port: 0 };
      return port === 0 ? [] : [[id, host, port] as const];
    });
    return { ...order, sources, addresses };
  }

  // Time

  /** Every so often. */
  tick(nowMs: number): void {
    const lateMs = nowMs - this.#tickedMs;
    this.#tickedMs = nowMs;
    if (lateMs > LATE_MS) {
      this.#beganMs = Math.min(nowMs, this.#beganMs + lateMs);
      for (const server of this.#servers.values()) {
        server.heardMs = Math.min(nowMs, server.heardMs + lateMs);
        server.listenedMs = Math.min(nowMs, server.listenedMs + lateMs);
      }
    }
    for (const [node, server] of this.#servers) {
      if (server.lost || this.#isAlive(node, nowMs)) continue;
      server.lost = true;
      for (const job of this.#jobs.values()) {
        for (const { attempt } of job.runningOn(node)) job.lost(attempt);
      }
    }
    for (const job of this.#jobs.values()) {
      if (job.state !== 'running') continue;
      this.#lookIfUnreachable(job, nowMs);
      for (const node of job.holders) {
        // If there is somebody else who can do it, and from whom the others can fetch.
        const isOutOfReach = this.#isOutOfReach(node, nowMs) && !this.#mappersOf(job, nowMs).includes(node);
        if (isOutOfReach || !this.#isAlive(node, nowMs)) this.#mapsLost(job, job.outputsOf(node));
      }
    }
  }

  /** Map outputs that lie on several servers, and nobody can fetch from any. */
  #lookIfUnreachable(job: ActiveJob, nowMs: number): void {
    const alive = [...this.#servers.keys()].filter((node) => this.#isAlive(node, nowMs));
    const isStuck =
      job.phase === 'reduce' && alive.length > 0 && !alive.some((node) => this.#canFetch(job, node));
    job.unreachableSinceMs = isStuck ? (job.unreachableSinceMs ?? nowMs) : undefined;
    if (job.unreachableSinceMs === undefined || nowMs - job.unreachableSinceMs <= UNREACHABLE_MS_MAX) return;
    job.giveUp(
      'no server can fetch map outputs from the others: their shuffle servers do not listen (mr-port)',
    );
  }

  /**
   * The job that needs another view, for it has none, or no server has it any more. Only the one whose turn it is: views
   * are few, and hold on the disks what was overwritten since.
   */
  viewless(nowMs: number): ActiveJob[] {
    const first = this.jobs.find(
      ({ phase, state, readsKeys }) => readsKeys && phase === 'map' && state === 'running',
    );
    return [first].filter((job): job is ActiveJob => {
      if (job === undefined || job.isFreezing) return false;
      const { view } = job;
      if (view === undefined) return true;
      const has = [...this.#servers].some(
        ([node, { report }]) =>
          this.#isAlive(node, nowMs) && !job.isUnable(node) && report?.views.includes(view) === true,
      );
      if (has) job.viewSeen = true;
      job.viewMissingSinceMs = has ? undefined : (job.viewMissingSinceMs ?? nowMs);
      const patienceMs = job.viewSeen ? VIEW_MISSING_MS_MAX : VIEW_COMING_MS_MAX;
      return job.viewMissingSinceMs !== undefined && nowMs - job.viewMissingSinceMs > patienceMs;
    });
  }

  // Facts

  /** What is to be made durable, in this order. */
  takeFacts(): readonly PendingFact[] {
    const facts = this.#facts;
    this.#facts = [];
    return facts;
  }

  /** They are in the log. */
  apply(facts: readonly PendingFact[], nowMs: number): void {
    for (const { job: id, fact } of facts) {
      const job = this.#jobs.get(id);
      for (const other of job?.apply(fact, nowMs) ?? []) {
        const aborts = this.#aborts.get(other.worker) ?? [];
        this.#aborts.set(other.worker, [...aborts, attemptOf(job!, other)]);
      }
    }
  }

  #mapsLost(job: ActiveJob, tasks: readonly number[]): void {
    const queued = this.#facts.some(
      ({ job: id, fact }) =>
        id === job.id && fact.fact === 'maps-lost' && tasks.every((task) => fact.tasks.includes(task)),
    );
    const { id, epoch } = job;
    if (tasks.length > 0 && !queued) this.#facts.push({ job: id, fact: { fact: 'maps-lost', epoch, tasks } });
  }

  #viewsOf(node: number): readonly string[] {
    return this.#servers.get(node)?.report?.views ?? [];
  }

  #jobOf({ job: id, epoch, phase, task }: AttemptId): ActiveJob | undefined {
    const job = this.#jobs.get(id);
    return job?.epoch === epoch && job.hasTask(phase, task) ? job : undefined;
  }

  #serverOf(node: number): Server {
    let server = this.#servers.get(node);
    if (server === undefined) {
      server = { run: '', seq: 0, heardMs: 0, report: undefined, listenedMs: 0, lost: false };
      this.#servers.set(node, server);
    }
    return server;
  }

  #isAlive(node: number, nowMs: number): boolean {
    const server = this.#servers.get(node);
    if (server?.report === undefined) return nowMs - this.#beganMs <= LEASE_MS;
    return nowMs - server.heardMs <= LEASE_MS;
  }

  #aliveBut(node: number, nowMs: number): number[] {
    return [...this.#servers.keys()].filter((other) => other !== node && this.#isAlive(other, nowMs));
  }
}

/** Whether a server with these views can do its map tasks. */
function isReadable({ readsKeys, view }: ActiveJob, views: readonly string[]): boolean {
  return !readsKeys || (view !== undefined && views.includes(view));
}

function attemptOf(job: ActiveJob, { phase, task, attempt }: Assignment): AttemptId {
  return { job: job.id, epoch: job.epoch, phase, task, attempt };
}

function idOf({ job, epoch, phase, task, attempt }: AttemptId): AttemptId {
  return { job, epoch, phase, task, attempt };
}

/** Attempts of a job have numbers of their own. */
export function nameOf({ job, epoch, attempt }: AttemptId): string {
  return `${job} ${epoch} ${attempt}`;
}

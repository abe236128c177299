/**
 * The coordinator at work, on the server that leads: takes over when there are jobs, answers the servers' reports, brings
 * facts into the log, and ends jobs.
 *
 *   not leading --> leading, nothing to do --(a job)--> taking over --> in office --(another leader, a failed write)--> ...
 *
 * A cluster without jobs costs nothing: no write, no message. Everything that goes wrong with a write has one answer: leave
 * office, and begin again from what the log says, if this server still leads.
 */
import type { Timer } from '../../lib/env.ts';
import { CorruptionError, HstoreError } from '../../lib/errors.ts';
import type { ServiceHost } from '../../server/service.ts';
import type { ActiveJob } from './active-job.ts';
import { viewName } from './active-job.ts';
import { Cleaner } from './cleaner.ts';
import { Coordinator } from './coordinator.ts';
import { changed, type Ending, endJob, tooLarge } from './ending.ts';
import { type Answer, encodeMessage, type JobView, type Question, type Report } from './messages.ts';
import {
  decodeRecord,
  JOBS_KEY,
  type JobId,
  type JobIndex,
  type JobOrderRecord,
  type JobRecord,
  type JobSummary,
  jobText,
  mapCount,
  NO_JOBS,
} from './records.ts';
import { Reign, ReignLostError } from './reign.ts';
import { read, StoreError } from './system-keys.ts';

export interface CoordinationOptions {
  /** Of a result, in the store. */
  readonly resultBytesMax: () => number;
}

interface Office {
  /** In which it was taken; who leads again in another has missed what was decided in between. */
  readonly term: number;
  readonly reign: Reign;
  readonly coordinator: Coordinator;
  readonly cleaner: Cleaner;
  /** So many it has asked for. */
  views: number;
}

const TICK_MS = 250;
const AGAIN_MS = 500;
const LOOK_EVERY_MS = 30_000;
/** After something that will not go away by itself. */
const BROKEN_MS = 5000;
/** Jobs under way, waiting ones among them. */
const ACTIVE_MAX = 100;
/** Jobs that have ended, and whose results are kept. */
const ENDED_MAX = 100;
const VIEWS_LOST_MAX = 5;
const SECRET_BYTES = 32;
const NOT_COORDINATOR: Answer = { answer: 'not-coordinator' };
const NOTHING_TO_DO = { answer: 'orders', start: [], abort: [], settled: [], active: [] } as const;

export class Coordination {
  readonly #host: ServiceHost;
  readonly #options: CoordinationOptions;
  #office: Office | undefined;
  #taking: Promise<Office | undefined> | undefined;
  /** In this term it was looked whether there is anything to do. */
  #lookedTerm = -1;
  #lookedMs = 0;
  /** When it was looked. */
  #jobsSeen = 0;
  /** In this term there was nothing to do when it was looked. */
  #idleTerm = -1;
  #idleLastJob = 0;
  #notBeforeMs = 0;
  #timer: Timer | undefined;
  /** Writes go one after the other. */
  #writing: Promise<unknown> = Promise.resolve();
  #pumping = false;
  #stopped = false;

  constructor(host: ServiceHost, options: CoordinationOptions) {
    this.#host = host;
    this.#options = options;
    this.#tick();
  }

  /** What is being written may still come to its end; nothing is begun any more. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#office = undefined;
  }

  /** Jobs under way, when this server coordinates them. */
  get coordinator(): Coordinator | undefined {
    return this.#office?.coordinator;
  }

  get index(): JobIndex | undefined {
    return this.#office?.reign.index;
  }

  /** As far as is known here. */
  get hasJobs(): boolean {
    return (this.#office?.reign.index.jobs.length ?? this.#jobsSeen) > 0;
  }

  async answer(from: number, question: Question): Promise<Answer> {
    try {
      // To tell that there are no jobs, nobody need take over.
      if (question.ask === 'jobs' && this.#office === undefined && (await this.#hasNoJobs())) {
        return { answer: 'jobs', jobs: [] };
      }
    } catch (error) {
      this.#failed(undefined, error);
      return NOT_COORDINATOR;
    }
    const office = await this.#inOffice(question.ask !== 'next');
    if (office === undefined || this.#stopped) return this.#withoutOffice(question);
    try {
      switch (question.ask) {
        case 'next':
          return this.#next(office, from, question.report);
        case 'submit':
          return await this.#serially(office, () => this.#submit(office, question.order));
        case 'cancel':
          return await this.#serially(office, () => this.#cancel(office, question.id));
        case 'remove':
          return await this.#serially(office, () => this.#remove(office, question.id));
        case 'jobs':
          return await this.#confirmed(office, { answer: 'jobs', jobs: this.#jobs(office, question.id) });
        default:
          return { answer: 'refused', message: 'the question makes no sense' };
      }
    } catch (error) {
      this.#failed(office, error);
      return NOT_COORDINATOR;
    }
  }

  async #hasNoJobs(): Promise<boolean> {
    return this.#leads && (await read(this.#host, 'GET', JOBS_KEY)) === null;
  }

  /** Servers that still think of jobs learn that there are none. */
  #withoutOffice({ ask }: Question): Answer {
    const isIdle = this.#leads && this.#idleTerm === this.#host.term && this.#taking === undefined;
    return ask === 'next' && isIdle ? { ...NOTHING_TO_DO, lastJob: this.#idleLastJob } : NOT_COORDINATOR;
  }

  // Office

  get #leads(): boolean {
    return !this.#stopped && this.#host.leader === this.#host.self.id;
  }

  /** `take`: although there may be no jobs. */
  async #inOffice(take: boolean): Promise<Office | undefined> {
    if (!this.#leads) return undefined;
    this.#leaveIfOver();
    if (this.#office !== undefined || (!take && this.#taking === undefined)) return this.#office;
    this.#idleTerm = -1;
    this.#taking ??= this.#take().finally(() => {
      this.#taking = undefined;
    });
    return this.#taking;
  }

  async #take(): Promise<Office | undefined> {
    const { clock, log, term } = this.#host;
    try {
      const reign = await Reign.take(this.#host);
      const coordinator = new Coordinator(reign.number, clock.monotonicMs());
      for (const { record, version, facts } of await reign.load()) {
        coordinator.add(record, version, facts, clock.monotonicMs());
      }
      if (!this.#leads || this.#host.term !== term) return undefined;
      this.#lookedTerm = term;
      const office: Office = {
        term,
        reign,
        coordinator,
        cleaner: this.#cleanerOf(() => office, reign),
        views: 0,
      };
      this.#office = office;
      log.notice('coordinates the jobs', { reign: reign.number, active: coordinator.jobs.length });
      this.#wake(this.#host.members.map(({ id }) => id));
      office.cleaner.look();
      return office;
    } catch (error) {
      this.#failed(undefined, error);
      return undefined;
    }
  }

  #cleanerOf(office: () => Office, reign: Reign): Cleaner {
    return new Cleaner({
      reign,
      serially: (write) => this.#serially(office(), write),
      failed: (error) => this.#failed(office(), error),
    });
  }

  #leaveIfOver(): void {
    if (!this.#leads || this.#office?.term !== this.#host.term) this.#office = undefined;
  }

  /** Leaves office; a bug is not caught. */
  #failed(office: Office | undefined, error: unknown): void {
    if (!(error instanceof HstoreError)) throw error;
    if (office === this.#office) this.#office = undefined;
    const isBroken = error instanceof CorruptionError;
    this.#notBeforeMs = this.#host.clock.monotonicMs() + (isBroken ? BROKEN_MS : AGAIN_MS);
    this.#lookedTerm = -1;
    if (this.#stopped) return;
    if (isBroken) this.#host.log.warning('the jobs cannot be coordinated', { reason: error.message });
    else this.#host.log.verbose('coordinates the jobs no more', { reason: error.message });
  }

  #tick(): void {
    if (this.#stopped) return;
    this.#timer = this.#host.clock.after(TICK_MS, () => this.#tick());
    const { clock, term, members } = this.#host;
    this.#leaveIfOver();
    if (!this.#leads) return;
    const office = this.#office;
    const nowMs = clock.monotonicMs();
    if (office === undefined) {
      const isDue = this.#lookedTerm !== term || nowMs >= this.#lookedMs + LOOK_EVERY_MS;
      if (isDue && nowMs >= this.#notBeforeMs) this.#look(nowMs);
      return;
    }
    const { coordinator } = office;
    if (coordinator.jobs.length === 0) return;
    coordinator.tick(nowMs);
    for (const job of coordinator.viewless(nowMs)) this.#renewView(office, job);
    this.#wake(
      coordinator.silent(
        members.map(({ id }) => id),
        nowMs,
      ),
    );
    this.#pump(office);
  }

  /** A new leader takes over when there is something to do. What it reads may be older where `reads local` is set. */
  #look(nowMs: number): void {
    const { term } = this.#host;
    this.#lookedTerm = term;
    this.#lookedMs = nowMs;
    read(this.#host, 'GET', JOBS_KEY).then(
      (bytes) => {
        if (this.#stopped) return;
        const { jobs, lastId } = bytes === null ? NO_JOBS : decodeRecord<JobIndex>(bytes as Uint8Array);
        this.#jobsSeen = jobs.length;
        const hasWork = jobs.some(
          ({ state, unclean }) => state === 'active' || state === 'removed' || unclean,
        );
        if (hasWork) void this.#inOffice(true);
        else [this.#idleTerm, this.#idleLastJob] = [term, lastId];
      },
      (error: unknown) => this.#failed(this.#office, error),
    );
  }

  /** One writer at a time, and only while the office is held. */
  #serially<T>(office: Office, write: () => Promise<T>): Promise<T | Answer> {
    const next = this.#writing.then(
      async (): Promise<T | Answer> => (this.#office === office ? await write() : NOT_COORDINATOR),
    );
    this.#writing = next.catch(() => {});
    return next;
  }

  // What servers and clients ask

  #next(office: Office, from: number, report: Report): Answer {
    const orders = office.coordinator.heard(from, report, this.#host.clock.monotonicMs());
    this.#pump(office);
    // Out of order: it is not known what holds.
    if (orders === undefined) return NOT_COORDINATOR;
    return { answer: 'orders', lastJob: office.reign.index.lastId, ...orders };
  }

  async #submit(office: Office, order: JobOrderRecord): Promise<Answer> {
    const { reign, coordinator } = office;
    const { clock, random } = this.#host;
    const before = reign.index.jobs.find(({ token }) => token === order.token);
    if (before !== undefined) return this.#confirmed(office, { answer: 'submitted', id: before.id });
    if (coordinator.jobs.length >= ACTIVE_MAX) {
      return {
        answer: 'refused',
        message: `there are ${ACTIVE_MAX} jobs under way: wait for one, or cancel one`,
      };
    }
    const id = reign.index.lastId + 1;
    const secret = Array.from(random.bytes(SECRET_BYTES), (byte) => byte.toString(16).padStart(2, '0')).join(
      '',
    );
    const record: JobRecord = { ...order, id, secret, submittedMs: clock.wallMs() };
    const version = await reign.submit(record, {
      lastId: id,
      jobs: [...reign.index.jobs, summaryOf(record)],
    });
    coordinator.add(record, version, [], clock.monotonicMs());
    this.#wake(this.#host.members.map((member) => member.id));
    this.#forgetOldest(office);
    return { answer: 'submitted', id };
  }

  async #cancel(office: Office, id: JobId): Promise<Answer> {
    const job = office.coordinator.job(id);
    if (job === undefined) return this.#unchanged(office, id);
    job.state = 'ending';
    await this.#end(office, job, { state: 'cancelled' });
    return { answer: 'changed', changed: true };
  }

  async #remove(office: Office, id: JobId): Promise<Answer> {
    const job = office.reign.index.jobs.find((each) => each.id === id);
    if (job === undefined || job.state === 'removed') return this.#unchanged(office, id);
    if (job.state === 'active') {
      const message = `job ${id} is under way: cancel it with MR.CANCEL ${id}`;
      return this.#confirmed(office, { answer: 'refused', message });
    }
    await this.#markRemoved(office, id);
    return { answer: 'changed', changed: true };
  }

  /** Who asks again, because the first answer was lost, is told what was done. */
  #unchanged(office: Office, id: JobId): Promise<Answer> {
    const known = office.reign.index.jobs.find((job) => job.id === id);
    if (known === undefined)
      return this.#confirmed(office, { answer: 'refused', message: `there is no job ${id}` });
    const changed = known.state === 'cancelled' || known.state === 'removed';
    return this.#confirmed(office, { answer: 'changed', changed });
  }

  /** What is answered from memory holds only as long as nobody else coordinates. Throws ReignLostError. */
  async #confirmed(office: Office, answer: Answer): Promise<Answer> {
    try {
      if (await office.reign.holds()) return answer;
    } catch (error) {
      // What could not be read now does not mean that it holds no more.
      if (error instanceof StoreError) return NOT_COORDINATOR;
      throw error;
    }
    throw new ReignLostError();
  }

  #jobs({ reign, coordinator }: Office, id: JobId | undefined): JobView[] {
    const wanted = reign.index.jobs.filter(
      (job) => job.state !== 'removed' && (id === undefined || job.id === id),
    );
    return wanted.map(({ counters, ...summary }) => {
      const progress = coordinator.job(summary.id)?.progress;
      // All of those of all jobs would be too much for an answer.
      const counted = id === undefined || counters === undefined ? summary : { ...summary, counters };
      return progress === undefined ? counted : { ...counted, progress };
    });
  }

  // Facts and ends

  /** Until there is nothing to be written. */
  #pump(office: Office): void {
    if (this.#pumping) return;
    this.#pumping = true;
    this.#serially(office, () => this.#writeAll(office))
      .catch((error: unknown) => this.#failed(office, error))
      .finally(() => {
        this.#pumping = false;
      });
  }

  async #writeAll(office: Office): Promise<Answer> {
    const { reign, coordinator } = office;
    const { clock } = this.#host;
    for (;;) {
      const facts = coordinator.takeFacts();
      if (facts.length > 0) {
        await reign.append(facts);
        coordinator.apply(facts, clock.monotonicMs());
        this.#wake(coordinator.idle);
      }
      const over = coordinator.jobs.filter((job) => job.state === 'running' && this.#isOver(job));
      for (const job of over) if (job.state === 'running') await this.#over(office, job);
      if (facts.length === 0 && over.length === 0) return NOT_COORDINATOR;
    }
  }

  /** Also when it could not keep what it has so far. */
  #isOver(job: ActiveJob): boolean {
    const { phase } = job;
    return (
      phase === 'done' || phase === 'failed' || tooLarge(job, this.#options.resultBytesMax()) !== undefined
    );
  }

  async #over(office: Office, job: ActiveJob): Promise<void> {
    job.state = 'ending';
    const { failure } = job;
    const tooMuch = failure === undefined ? tooLarge(job, this.#options.resultBytesMax()) : undefined;
    if (failure !== undefined) {
      const { phase, task, attempts } = failure;
      await this.#end(office, job, {
        state: 'failed',
        failure: { ...failure.failure, phase, task, attempts },
      });
    } else if (tooMuch !== undefined) {
      await this.#end(office, job, { state: 'failed', failure: tooMuch });
    } else {
      await this.#end(office, job, { state: 'done' });
    }
  }

  async #end(office: Office, job: ActiveJob, ending: Ending): Promise<void> {
    const { id } = job;
    await endJob(this.#host, office.reign, job, ending);
    office.coordinator.remove(id);
    const { name } = job.record;
    this.#host.log.notice('a job has ended', { job: id, name, state: ending.state });
    // Their threads and files can go.
    this.#wake(this.#host.members.map((member) => member.id));
    office.cleaner.look();
  }

  /**
   * Each view has a name of its own, so one that was asked for by a coordinator which was replaced meanwhile, and is made
   * only now, is not taken for another.
   */
  #renewView(office: Office, job: ActiveJob): void {
    const { coordinator, reign } = office;
    const epoch = job.epoch + 1;
    const isWanted = () =>
      coordinator.job(job.id) === job && job.state === 'running' && job.epoch + 1 === epoch;
    // One that nobody has begun to read may have been let go while the job waited.
    if (job.view !== undefined && job.hasBegun) job.viewsLost++;
    if (job.viewsLost >= VIEWS_LOST_MAX) {
      const message = `the servers have lost their view of the keys ${VIEWS_LOST_MAX} times`;
      const ending: Ending = { state: 'failed', failure: { message, deterministic: false } };
      const end = async () => (isWanted() ? this.#end(office, job, ending) : undefined);
      this.#serially(office, end).catch((error: unknown) => this.#failed(office, error));
      return;
    }
    job.isFreezing = true;
    job.viewMissingSinceMs = undefined;
    const view = viewName(job.id, reign.number, ++office.views);
    this.#host.freeze(view, (reply) => {
      if (this.#office !== office || !isWanted()) return;
      if (reply !== true) {
        // The next tick tries again.
        job.isFreezing = false;
        return;
      }
      coordinator.renew(job.id, epoch, view);
      this.#pump(office);
    });
  }

  // What is left behind

  /** The history has an end. */
  #forgetOldest(office: Office): void {
    const ended = office.reign.index.jobs.filter(({ state }) => state !== 'active' && state !== 'removed');
    if (ended.length <= ENDED_MAX) return;
    const forget = async (): Promise<Answer> => {
      await this.#markRemoved(office, ended[0]!.id);
      return NOT_COORDINATOR;
    };
    this.#serially(office, forget).catch((error: unknown) => this.#failed(office, error));
  }

  async #markRemoved(office: Office, id: JobId): Promise<void> {
    await office.reign.change(changed(office.reign.index, id, { state: 'removed' }));
    office.cleaner.look();
  }

  /** They are to ask for orders now. */
  #wake(members: readonly number[]): void {
    const payload = encodeMessage({ ask: 'wake' });
    for (const member of members) this.#host.call(member, payload, () => {});
  }
}

function summaryOf(record: JobRecord): JobSummary {
  const { id, token, name, job, submittedMs, reducers, bytes } = record;
  return {
    ...{ id, token, name, job: jobText(job), state: 'active', submittedMs },
    ...{ maps: mapCount(record), reduces: reducers, bytes, out: record.out.kind },
  };
}

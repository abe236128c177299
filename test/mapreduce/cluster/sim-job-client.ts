/**
 * A client that sees a job through: submits it, waits for its end, perhaps cancels it, checks what has come of it, and
 * removes it. It asks another server each time, and again where there is no answer.
 */
import { assert } from '../../../src/lib/assert.ts';
import { latin1 } from '../../../src/lib/bytes.ts';
import { rowAt } from '../../../src/mapreduce/parts.ts';
import { ErrorReply, MapReply, type Reply } from '../../../src/resp/reply.ts';
import { call } from '../../sim/calls.ts';
import type { Cluster } from '../../sim/cluster.ts';
import type { SimRandom } from '../../sim/random.ts';
import { type JobPlan, pairsOf } from './sim-job-plans.ts';
import type { SimJobServices } from './sim-service.ts';

export interface JobClientWorld {
  readonly cluster: Cluster;
  readonly services: SimJobServices;
  readonly random: SimRandom;
  readonly pauseMeanMs: number;
  /** Failing is all right for a job of which the world says so: a task that has failed often enough. */
  mayFail(id: number, error: string): boolean;
}

const UNKNOWN = ['CLUSTERDOWN', 'TIMEOUT'];
const TRY_AGAIN = /: try again$/;
const ASKED_AGAIN = 5;
const ATTEMPTS_MAX = 4;
const PAGE_LINES_MAX = 7;
/** Behind its submission: a question that was late may submit it again once it is forgotten. */
const PURGE_NOT_BEFORE_MS = 4000;

export class JobClient {
  readonly plan: JobPlan;
  id: number | undefined;
  /** How it ended. */
  state: string | undefined;
  finished = false;
  purged = false;
  readonly #world: JobClientWorld;
  #submissions = 0;
  #submittedMs = 0;
  #cancelled = false;

  constructor(world: JobClientWorld, plan: JobPlan) {
    this.#world = world;
    this.plan = plan;
  }

  async run(): Promise<void> {
    const { plan } = this;
    const { scheduler } = this.#world.cluster;
    await this.#sleep(plan.submitAtMs - scheduler.nowMs);
    await Promise.all([this.#submit(), ...(plan.twice ? [this.#submit()] : [])]);
    this.#submittedMs = scheduler.nowMs;
    await Promise.all([this.#waitForEnd(), this.#cancel()]);
    for (let i = 0; i < ASKED_AGAIN; i++) {
      await this.#checkStatus();
      await this.#pause();
    }
    if (this.state === 'done') await this.#checkResult();
    const isSafe = this.#submissions === 1 && scheduler.nowMs - this.#submittedMs > PURGE_NOT_BEFORE_MS;
    if (plan.purgedEarly && isSafe) await this.purge();
    this.finished = true;
  }

  async #submit(): Promise<void> {
    const { files, reduces, prefix, token } = this.plan;
    const input =
      files === undefined ? ['KEYS', 'bag:*'] : ['FILES', files.length, ...files.map(([path]) => path)];
    const out = prefix === undefined ? ['OUT', 'STORE'] : ['OUT', 'KEYS', prefix];
    const args = ['wc', ...input, 'REDUCES', reduces, ...out, 'TOKEN', token, 'SPLIT', 1024];
    const id = await this.#ask('submit', args, () => {
      this.#submissions++;
    });
    assert(typeof id === 'number', 'a job that is submitted has an id', token, describe(id));
    assert(this.id === undefined || this.id === id, 'a token is one job', token, this.id, id);
    this.id = id;
  }

  async #cancel(): Promise<void> {
    const { cancelAfterMs } = this.plan;
    if (cancelAfterMs === undefined) return;
    await this.#sleep(cancelAfterMs);
    const reply = await this.#ask('cancel', [this.id!]);
    assert(reply === 1 || reply === 0, 'a job can be cancelled, or has ended', this.id, describe(reply));
    if (reply === 1) this.#cancelled = true;
  }

  async #waitForEnd(): Promise<void> {
    while (this.state === undefined) {
      await this.#pause();
      const { state } = await this.status();
      if (state !== 'active') this.state = state!;
    }
  }

  /** As MR.STATUS tells it, all in words. */
  async status(): Promise<Readonly<Record<string, string>>> {
    const reply = await this.#ask('status', [this.id!]);
    assert(reply instanceof MapReply, 'a job that was submitted is known', this.id, describe(reply));
    return Object.fromEntries(fieldsOf(reply));
  }

  /** At any time: how it has ended stays so, and is what had to come. */
  async #checkStatus(): Promise<void> {
    const { plan, id } = this;
    const status = await this.status();
    assert(status.state === this.state, 'how a job has ended stays so', id, this.state, status.state);
    if (this.#cancelled) assert(status.state === 'cancelled', 'what is cancelled is so', id, status.state);
    switch (status.state) {
      case 'done':
        assert(!plan.doomed, 'a job that cannot be done is not done', id);
        assert(status.words === `${plan.words}`, 'each word is counted once', id, status.words, plan.words);
        assert(status.keys === `${linesOf(plan).length}`, 'each key is counted once', id, status.keys);
        return;
      case 'failed': {
        const error = `${status.error} (${status['error-phase']} ${status['error-task']})`;
        const tries = Number(status['error-attempts'] ?? 0);
        assert(tries <= ATTEMPTS_MAX, 'a task is tried so many times', id, tries);
        const may = plan.doomed || this.#world.mayFail(id!, error);
        return assert(may, 'a job fails only if it must', id, error);
      }
      default:
        assert(status.state === 'cancelled', 'a job ends', id, status.state);
        assert(plan.cancelAfterMs !== undefined, 'a job is cancelled by who wants it', id);
    }
  }

  // Results

  async #checkResult(): Promise<void> {
    const { plan } = this;
    if (plan.prefix !== undefined) {
      const seen = await this.#outputKeys();
      return assert(seen === 'all', 'a job that is done has written its keys', this.id, seen);
    }
    const pages = (await this.#pages()).join('');
    assert(
      pages === plan.lines,
      'the pages of a result are what was to be counted',
      this.id,
      pages,
      plan.lines,
    );
    const parts = await this.#parts();
    assert(
      parts === plan.lines,
      'the parts of a result are what was to be counted',
      this.id,
      parts,
      plan.lines,
    );
  }

  async #pages(): Promise<string[]> {
    const lines: string[] = [];
    let cursor = '0';
    do {
      const count = 1 + this.#world.random.below(PAGE_LINES_MAX);
      const reply = await this.#ask('result', [this.id!, 'CURSOR', cursor, 'COUNT', count]);
      assert(Array.isArray(reply), 'a job that is done has a result', this.id, describe(reply));
      const [next, page] = reply as [Uint8Array, Uint8Array[]];
      lines.push(...page.map((line) => `${latin1(line)}\n`));
      cursor = latin1(next);
    } while (cursor !== '0');
    return lines;
  }

  async #parts(): Promise<string> {
    const lines: string[] = [];
    for (let part = 0; part < this.plan.reduces; part++) {
      const pieces: Uint8Array[] = [];
      for (let chunk = 0; ; chunk++) {
        const piece = await this.#ask('result', [this.id!, 'PART', part, 'CHUNK', chunk]);
        if (!(piece instanceof Uint8Array)) {
          assert(piece === null, 'a job that is done has all chunks', this.id, describe(piece));
          break;
        }
        pieces.push(piece);
      }
      const bytes = Buffer.concat(pieces);
      for (let at = 0; at < bytes.length; ) {
        const found = rowAt(bytes, at)!;
        lines.push(`${latin1(found.row.line)}\n`);
        at = found.end;
      }
    }
    // Of one word each, so that their order is that of their words.
    return lines.sort().join('');
  }

  /** Once in a while: nobody ever sees some of them. */
  async watchOutput(): Promise<void> {
    if (this.plan.prefix === undefined) return;
    let before = 'none';
    while (!this.finished) {
      await this.#pause();
      const seen = await this.#outputKeys();
      assert(before === 'none' || seen === 'all', 'keys of a result stay', this.plan.token, seen);
      before = seen;
    }
  }

  /** When all is over. */
  async checkNoTrace(): Promise<void> {
    if (this.plan.prefix === undefined || this.state === 'done') return;
    const seen = await this.#outputKeys();
    assert(seen === 'none', 'a job that is not done writes no keys', this.id, seen);
  }

  async #outputKeys(): Promise<'all' | 'none'> {
    const pairs = pairsOf(this.plan);
    const { cluster, random } = this.#world;
    for (;;) {
      const reply = await new Promise<Reply | undefined>((resolve) => {
        const argv = ['MGET', ...pairs.map(([key]) => key)];
        call(cluster, random.pick(cluster.serving), { kind: 'command', argv }, (told) => {
          cluster.scheduler.settle();
          resolve(told);
        });
      });
      if (Array.isArray(reply))
        return this.#allOrNone(reply.map((each) => (each === null ? null : describe(each))));
      await this.#pause();
    }
  }

  #allOrNone(values: readonly (string | null)[]): 'all' | 'none' {
    if (values.every((value) => value === null)) return 'none';
    const wanted = pairsOf(this.plan).map(([, value]) => value);
    const isAll = wanted.every((value, i) => values[i] === value);
    assert(isAll, 'the keys of a result come all at once', this.plan.token, `${values}`, `${wanted}`);
    return 'all';
  }

  async purge(): Promise<void> {
    if (this.purged) return;
    for (;;) {
      const reply = await this.#ask('purge', [this.id!]);
      // An answer to the same question before may have been lost.
      const isGone = reply instanceof ErrorReply && reply.message === `there is no job ${this.id}`;
      assert(reply === 1 || isGone, 'a job that has ended can be removed', this.id, describe(reply));
      break;
    }
    this.purged = true;
  }

  // Asking

  /** Until there is an answer that says something. */
  async #ask(name: string, args: readonly (string | number)[], onTry = () => {}): Promise<Reply> {
    const { cluster, services, random } = this.#world;
    for (;;) {
      onTry();
      const reply = await services.ask(random.pick(cluster.serving), name, args);
      if (reply !== undefined && !isForLater(reply)) return reply;
      await this.#pause();
    }
  }

  #pause(): Promise<void> {
    return this.#sleep(this.#world.random.exponential(this.#world.pauseMeanMs));
  }

  #sleep(ms: number): Promise<void> {
    const { scheduler } = this.#world.cluster;
    return new Promise((resolve) => scheduler.after(Math.max(0, ms), undefined, resolve, true));
  }
}

/** Nobody could be asked, or this server has enough to do. */
function isForLater(reply: Reply): boolean {
  return reply instanceof ErrorReply && (UNKNOWN.includes(reply.code) || TRY_AGAIN.test(reply.message));
}

function linesOf({ lines }: JobPlan): string[] {
  return lines.split('\n').filter((line) => line !== '');
}

/** Of a map and the maps in it. */
function fieldsOf(reply: MapReply): (readonly [string, string])[] {
  return reply.pairs.flatMap(([name, value]) =>
    value instanceof MapReply ? fieldsOf(value) : [[describe(name), describe(value)] as const],
  );
}

function describe(reply: Reply | undefined): string {
  if (reply instanceof Uint8Array) return latin1(reply);
  if (reply instanceof ErrorReply) return `${reply.code} ${reply.message}`;
  return String(reply);
}

/**
 * One seed, one world of jobs: a cluster with the MapReduce service on each server, clients that submit jobs, and faults of
 * servers, networks and threads (sim-job-options.ts). As the swarm of test/sim it has two phases: in the first everything may
 * go wrong; then all is mended, every job must come to its end, and what is done must be what a naive count says. At last
 * all jobs are removed, and nothing may be left of them anywhere.
 */
import { SYSTEM_DATABASE } from '../../../src/kv/batch.ts';
import { findDataCommand } from '../../../src/kv/table.ts';
import { assert } from '../../../src/lib/assert.ts';
import { fromLatin1, latin1 } from '../../../src/lib/bytes.ts';
import type { Fact } from '../../../src/mapreduce/cluster/records.ts';
import { EncodedArrayReply, type Reply } from '../../../src/resp/reply.ts';
import type { PeerMessage } from '../../../src/server/peer-message.ts';
import { Cluster, type SimServer } from '../../sim/cluster.ts';
import { Faults } from '../../sim/faults.ts';
import { Invariants } from '../../sim/invariants.ts';
import { MemberDriver } from '../../sim/member-driver.ts';
import { SimRandom } from '../../sim/random.ts';
import { failureOf } from '../../sim/swarm.ts';
import type { FaultWeights } from '../../sim/swarm-options.ts';
import { Bags } from './sim-bags.ts';
import { SeededFortune } from './sim-fortune.ts';
import { JobClient } from './sim-job-client.ts';
import { drawJobWorld, JOB_FAULTS_FOR_MS, type JobWorldOptions, quietJobWorld } from './sim-job-options.ts';
import { bagWordsOf, drawPlans } from './sim-job-plans.ts';
import { SimMachines } from './sim-machines.ts';
import { SimJobServices } from './sim-service.ts';
import { TaskFailures } from './sim-task-failures.ts';

export interface JobsResult {
  readonly seed: number;
  /** Undefined when all went well. */
  readonly failure: string | undefined;
  readonly counts: JobCounts;
}

export interface JobCounts {
  readonly events: number;
  readonly crashes: number;
  readonly jobs: number;
  readonly done: number;
  readonly failed: number;
  readonly cancelled: number;
  readonly attempts: number;
  readonly misfortunes: number;
  readonly reigns: number;
  /** Facts of jobs that have ended. */
  readonly mapsLost: number;
  readonly epochs: number;
  readonly moves: number;
}

/** For the jobs of a seed; threads that hang are waited for two minutes each. */
const ENDED_WITHIN_MS = 400_000;
const HEALED_WITHIN_MS = 30_000;
const CLEAN_WITHIN_MS = 30_000;
const FINISH_EVERY_MS = 200;
/** In which late questions arrive. */
const QUIET_MS = 15_000;
const SILENT_MS = 5000;
const HELD_UP_MEAN_MS = 1500;
const ENDING_MEAN_MS = 2;
const BACK_AFTER_MS = 100;
const KEPT = ['mr:jobs', 'mr:reign'];

export async function runJobsSeed(
  seed: number,
  { trace, quiet = false }: { trace?: ((line: string) => void) | undefined; quiet?: boolean } = {},
): Promise<JobsResult> {
  const world = new JobWorld(seed, quiet, trace);
  const failure = await failureOf(() => world.run());
  return { seed, failure, counts: world.counts };
}

class JobWorld {
  readonly #random: SimRandom;
  readonly #options: JobWorldOptions;
  readonly #cluster: Cluster;
  readonly #invariants: Invariants;
  readonly #faults: Faults;
  readonly #members: MemberDriver;
  readonly #fortune: SeededFortune;
  readonly #machines: SimMachines;
  readonly #services: SimJobServices;
  readonly #bags: Bags;
  readonly #failures = new TaskFailures();
  readonly #terms = new Set<number>();
  #clients: JobClient[] = [];
  #broken: { readonly error: unknown } | undefined;
  #questions = 0;
  #reigns = 0;
  #mapsLost = 0;
  #epochs = 0;
  #faulty = true;

  constructor(seed: number, quiet: boolean, trace: ((line: string) => void) | undefined) {
    const random = new SimRandom(seed ^ 0x10b5);
    this.#random = random;
    this.#options = quiet ? quietJobWorld(seed, random) : drawJobWorld(seed, random);
    const { cluster, threads, slots, heldUp } = this.#options;
    this.#services = new SimJobServices(
      () => this.#cluster,
      () => ({
        ...{ machines: this.#machines, slots, resultBytesMax: 1 << 20 },
        splitsOf: (token) => this.#clients.find(({ plan }) => plan.token === token)!.plan.keySplits,
        heldUpMs: () => (this.#random.chance(heldUp) ? this.#random.exponential(HELD_UP_MEAN_MS) : 0),
        audit: (server) => ({
          onWrong: (error) => {
            this.#broken ??= { error };
          },
          onEnding: (facts) => this.#seeEnding(server, facts),
        }),
      }),
    );
    this.#cluster = new Cluster({
      ...cluster,
      ...(trace === undefined ? {} : { trace }),
      startService: (server, surroundings) => this.#services.start(server, surroundings),
    });
    this.#invariants = new Invariants(this.#cluster);
    this.#faults = new Faults(this.#cluster, random.split());
    this.#members = new MemberDriver(this.#cluster, random.split(), this.#invariants.configurations);
    this.#fortune = new SeededFortune(random.split(), threads);
    this.#machines = new SimMachines(this.#cluster, this.#fortune);
    if (this.#options.walled) this.#machines.walls.add(`${1 + random.below(3)}>${1 + random.below(3)}`);
    this.#bags = new Bags(this.#cluster, random.split());
  }

  async run(): Promise<void> {
    const cluster = this.#cluster;
    cluster.onSend = (from, _to, message) => this.#onSend(from, message);
    cluster.onLog = (_server, event, fields) => this.#onLog(event, fields);
    cluster.scheduler.afterEvent = () => this.#afterEvent();
    cluster.startAll();
    const words = bagWordsOf(this.#random);
    await this.#finish([this.#bags.fill(words)], HEALED_WITHIN_MS, 'a cluster without faults takes writes');
    assert(this.#questions === 0, 'without jobs nobody asks anything', this.#questions);
    const beganMs = cluster.scheduler.nowMs;
    const untilMs = beganMs + JOB_FAULTS_FOR_MS;
    this.#makeClients(words);
    const scripts = [
      ...this.#clients.flatMap((client) => [client.run(), client.watchOutput()]),
      this.#bags.move(untilMs),
    ];
    this.#scheduleFaults(untilMs);
    this.#watch(scripts);
    await cluster.run(JOB_FAULTS_FOR_MS);
    await this.#heal();
    await this.#finish(scripts, ENDED_WITHIN_MS, 'when all is mended, every job comes to its end');
    await this.#checkNothingIsLeft();
  }

  #makeClients(bagWords: readonly string[]): void {
    const { jobs, cancelled } = this.#options;
    const plans = drawPlans(this.#random.split(), { jobs, forMs: JOB_FAULTS_FOR_MS, cancelled, bagWords });
    for (const { files } of plans)
      for (const [path, text] of files ?? []) this.#machines.putInput(path, text);
    this.#clients = plans.map(
      (plan) =>
        new JobClient(
          {
            ...{ cluster: this.#cluster, services: this.#services, random: this.#random.split() },
            pauseMeanMs: this.#options.askMeanMs,
            mayFail: (id, error) => this.#failures.mayFail(id, error),
          },
          plan,
        ),
    );
  }

  // What happens

  #onSend(from: number, message: PeerMessage): void {
    this.#invariants.onSend(from, message);
    this.#faults.onSend(from, message);
    if (message.kind === 'call') this.#questions++;
  }

  #onLog(event: string, fields: object | undefined): void {
    if (event === 'a task has failed') this.#failures.note(fields);
    if (event === 'coordinates the jobs') this.#reigns++;
  }

  #seeEnding(coordinator: SimServer, facts: readonly Fact[]): void {
    this.#mapsLost += facts.filter(({ fact }) => fact === 'maps-lost').length;
    this.#epochs += facts.filter((fact) => fact.fact === 'epoch' && fact.epoch > 1).length;
    // The moment at which half of it hurts most.
    if (!this.#faulty || !this.#random.chance(this.#options.crashesEnding)) return;
    this.#faults.later(ENDING_MEAN_MS, () => {
      if (this.#faulty) this.#faults.crash(coordinator);
    });
  }

  #afterEvent(): void {
    if (this.#broken !== undefined) throw this.#broken.error;
    this.#invariants.check();
    this.#faults.afterEvent();
    for (const server of this.#cluster.servers) {
      if (server.fatal !== undefined) throw server.fatal;
      if (server.isLeader) this.#seeLeader(server);
    }
  }

  #seeLeader(leader: SimServer): void {
    const { term } = leader.replica!.raft;
    if (this.#terms.has(term)) return;
    this.#terms.add(term);
    this.#faults.newLeader(leader);
  }

  /** What a script finds wrong ends the world at once. */
  #watch(scripts: readonly Promise<void>[]): void {
    for (const script of scripts) {
      script.catch((error: unknown) => {
        this.#broken ??= { error };
      });
    }
  }

  async #finish(scripts: readonly Promise<void>[], withinMs: number, fact: string): Promise<void> {
    let left = scripts.length;
    this.#watch(scripts);
    for (const script of scripts) {
      script.then(
        () => {
          left--;
        },
        () => {},
      );
    }
    const finished = await this.#cluster.until(() => left === 0, withinMs);
    if (this.#broken !== undefined) throw this.#broken.error;
    assert(finished, fact, this.#describe());
  }

  // Faults

  #scheduleFaults(untilMs: number): void {
    const { meanBetweenFaultsMs, meanBetweenChangesMs, meanBetweenReturnsMs, threads } = this.#options;
    const { meanBetweenKillsMs, meanBetweenEmptiedMs } = threads;
    this.#repeat(untilMs, meanBetweenFaultsMs, () => this.#fault());
    this.#repeat(untilMs, meanBetweenChangesMs, () => this.#members.change());
    this.#repeat(untilMs, meanBetweenReturnsMs, () => this.#thereAndBack());
    this.#repeat(untilMs, meanBetweenKillsMs, () => this.#killThread());
    this.#repeat(untilMs, meanBetweenEmptiedMs, () => this.#emptyDisk());
  }

  #repeat(untilMs: number, meanMs: number | undefined, run: () => void): void {
    if (meanMs === undefined) return;
    const { scheduler } = this.#cluster;
    scheduler.after(this.#random.exponential(meanMs), undefined, () => {
      if (scheduler.nowMs >= untilMs) return;
      run();
      this.#repeat(untilMs, meanMs, run);
    });
  }

  #fault(): void {
    const { weights } = this.#options;
    const names = Object.keys(weights) as (keyof FaultWeights)[];
    let at = this.#random.fraction() * names.reduce((sum, name) => sum + weights[name], 0);
    const chosen = names.find((name) => {
      at -= weights[name];
      return at < 0;
    });
    if (chosen !== undefined) this.#faults.commit(chosen);
  }

  /** Another leads for a moment, and perhaps the one before again. */
  #thereAndBack(): void {
    const giveUp = () => this.#cluster.leader()?.replica?.giveUpLeadership();
    giveUp();
    this.#faults.later(BACK_AFTER_MS, giveUp);
  }

  #killThread(): void {
    const machine = this.#machines.machine(this.#random.pick(this.#cluster.servers).id);
    this.#fortune.counts.misfortunes++;
    machine.killThread((threads) => this.#random.pick(threads));
  }

  /** What bulk work had on the disk of a server that is down is gone. */
  #emptyDisk(): void {
    const victim = this.#random.pick(this.#cluster.servers);
    this.#faults.crash(victim);
    this.#machines.machine(victim.id).emptyDisk();
  }

  // The end

  async #heal(): Promise<void> {
    const cluster = this.#cluster;
    this.#faults.mend();
    this.#fortune.mended = true;
    this.#faulty = false;
    cluster.startAll();
    const finish = () => {
      this.#members.finish();
      // A change that was asked for may yet come.
      cluster.scheduler.after(FINISH_EVERY_MS, undefined, finish);
    };
    finish();
    const finished = await cluster.until(() => this.#members.finished, HEALED_WITHIN_MS);
    assert(finished, 'when all is mended, the members are the servers that there are', this.#describe());
  }

  async #checkNothingIsLeft(): Promise<void> {
    const clients = this.#clients;
    await this.#cluster.run(QUIET_MS);
    const traces = clients.map((client) => client.checkNoTrace());
    await this.#finish(traces, HEALED_WITHIN_MS, 'keys can be read');
    await this.#checkOnlyResults();
    const purges = clients.map((client) => client.purge());
    await this.#finish(purges, HEALED_WITHIN_MS, 'jobs that have ended can be removed');
    let keys: readonly string[] | undefined;
    const look = async (): Promise<void> => {
      do keys = await this.#systemKeys();
      while (keys === undefined || keys.join() !== KEPT.join());
    };
    const looking = look();
    this.#watch([looking]);
    await this.#cluster.until(
      () => keys?.join() === KEPT.join() || this.#broken !== undefined,
      CLEAN_WITHIN_MS,
    );
    assert(keys?.join() === KEPT.join(), 'nothing is left in the system database', keys?.join());
    await this.#cluster.until(() => this.#leftovers().length === 0, CLEAN_WITHIN_MS);
    assert(this.#leftovers().length === 0, 'nothing is left on any server', this.#leftovers().join('; '));
    await this.#checkSilence();
    await this.#restartAll();
    await this.#checkSilence();
  }

  async #restartAll(): Promise<void> {
    const { servers } = this.#cluster;
    for (const server of servers) server.crash();
    this.#cluster.startAll();
    const agreed = () => servers.every(({ replica }) => (replica?.raft.leaderId ?? 0) !== 0);
    assert(await this.#cluster.until(agreed, HEALED_WITHIN_MS), 'there is a leader', this.#describe());
    // Those with something left from before have asked.
    await this.#cluster.run(SILENT_MS);
    const leftovers = () => this.#leftovers().join('; ');
    await this.#cluster.until(() => leftovers() === '', CLEAN_WITHIN_MS);
    assert(leftovers() === '', 'nothing is left on any server after a restart', leftovers());
  }

  /** Of a job that is done there is one attempt's chunks for each part, and of others none. */
  async #checkOnlyResults(): Promise<void> {
    let keys: readonly string[] | undefined;
    const look = async (): Promise<void> => {
      while (keys === undefined) keys = await this.#systemKeys();
    };
    await this.#finish([look()], HEALED_WITHIN_MS, 'the system database can be read');
    const parts = new Set<string>();
    for (const key of keys!.filter((each) => each.startsWith('mr:out:'))) {
      const [, , id, task] = key.split(':');
      const client = this.#clients.find((each) => each.id === Number(id));
      const isKept = client?.state === 'done' && client.plan.prefix === undefined;
      assert(isKept && !parts.has(`${id} ${task}`), 'what does not count is cleared', key, keys!.join());
      parts.add(`${id} ${task}`);
    }
  }

  /** Of jobs: directories, views and threads. */
  #leftovers(): string[] {
    return this.#cluster.servers.flatMap(({ id, replica }) => {
      const { directories, alive } = this.#machines.machine(id);
      const views = replica?.views.views ?? [];
      const left = [...directories, ...views, ...(alive > 0 ? [`${alive} threads`] : [])];
      return left.length === 0 ? [] : [`n${id}: ${left.join(', ')}`];
    });
  }

  async #systemKeys(): Promise<readonly string[] | undefined> {
    const argv = ['KEYS', '*'].map(fromLatin1);
    const { replica } = this.#random.pick(this.#cluster.servers);
    const row = findDataCommand(argv)!;
    assert(row.kind !== 'write', 'KEYS reads');
    const reply = await new Promise<Reply>((resolve) => {
      const told = (keys: Reply): void => {
        this.#cluster.scheduler.settle();
        resolve(keys);
      };
      this.#cluster.scheduler.after(100, undefined, () =>
        replica!.read(SYSTEM_DATABASE, row, argv, { resolve: told }),
      );
    });
    if (!(reply instanceof EncodedArrayReply)) return undefined;
    const lines = latin1(Buffer.concat(reply.chunks)).split('\r\n');
    return lines.filter((line) => line !== '' && !line.startsWith('$')).sort();
  }

  /** A cluster without jobs writes nothing, and asks nothing, for jobs. */
  async #checkSilence(): Promise<void> {
    const cluster = this.#cluster;
    // What was under way.
    await cluster.run(SILENT_MS);
    const before = this.#questions;
    const lastIndex = () => cluster.leader()?.replica?.raft.log.lastIndex;
    const [term, index] = [this.#terms.size, lastIndex()];
    await cluster.run(SILENT_MS);
    assert(this.#questions === before, 'without jobs nobody asks anything', this.#questions - before);
    const isSame = term !== this.#terms.size || index === lastIndex();
    assert(isSame, 'without jobs nothing is written', index, lastIndex());
  }

  get counts(): JobCounts {
    const count = (state: string) => this.#clients.filter((client) => client.state === state).length;
    return {
      ...{ events: this.#cluster.scheduler.eventCount, crashes: this.#faults.crashes },
      ...{
        jobs: this.#clients.length,
        reigns: this.#reigns,
        mapsLost: this.#mapsLost,
        epochs: this.#epochs,
        moves: this.#bags.moves,
      },
      ...{ done: count('done'), failed: count('failed'), cancelled: count('cancelled') },
      ...this.#fortune.counts,
    };
  }

  #describe(): string {
    const jobs = this.#clients.map(({ plan, id, state, finished }) => {
      const input = plan.files === undefined ? 'keys' : `${plan.files.length} files`;
      return `${plan.token} is job ${id} over ${input}: ${state}${finished ? '' : ', not finished'}`;
    });
    const servers = this.#cluster.servers.map(({ id, replica }) => {
      const { alive } = this.#machines.machine(id);
      return `n${id} ${replica?.raft.role ?? 'down'} term ${replica?.raft.term} with ${alive} threads`;
    });
    return [...jobs, ...servers, `faults ${this.#faulty}`].join('; ');
  }
}

/**
 * One seed, one world: a cluster, its clients, an operator who changes its members, and faults of every kind, each kind
 * switched on or off and weighted by the seed (swarm-options.ts).
 *
 * Two phases. In the first everything may go wrong that the cluster must survive, and after every event the invariants
 * hold. In the second all is mended: then the cluster must come to rest, agree, and serve every server's clients
 * (liveness). At the end the clients' history must be linearizable. After TigerBeetle's VOPR.
 */
import { assert } from '../../src/lib/assert.ts';
import { CorruptionError, DiskFullError } from '../../src/lib/errors.ts';
import { AccountClient, accountModel } from './account-clients.ts';
import { writeBallast } from './ballast.ts';
import type { SwarmClient } from './calls.ts';
import { SimClient } from './clients.ts';
import { Cluster, type SimServer } from './cluster.ts';
import { Faults } from './faults.ts';
import { Invariants } from './invariants.ts';
import { type KeyOp, keyModel, type StoreOp, storeModel } from './kv-models.ts';
import { checkLinearizable, type Operation } from './linearizability.ts';
import { MemberDriver } from './member-driver.ts';
import { SimRandom } from './random.ts';
import { RottenDisks } from './rotten-disks.ts';
import { SessionClient } from './session-clients.ts';
import { drawOptions, FAULTS_FOR_MS, type FaultWeights, type SwarmOptions } from './swarm-options.ts';
import { TtlClient, ttlModel } from './ttl-clients.ts';
import { ViewReaders } from './view-readers.ts';

export interface SwarmResult {
  readonly seed: number;
  /** Undefined when all went well. */
  readonly failure: string | undefined;
  readonly counts: SwarmCounts;
}

/** What happened, to be added up over seeds. */
export interface SwarmCounts {
  readonly events: number;
  readonly operations: number;
  readonly unknown: number;
  readonly crashes: number;
  readonly elections: number;
  /** Snapshots: transfers begun, of these gone on with after a break, and installed. */
  readonly transfers: number;
  readonly resumed: number;
  readonly installs: number;
  /** Installs that a crash cut short behind the flip, and a restart finished. */
  readonly finishedInstalls: number;
  /** States behind an install or restart that could (not) be compared with another server's. */
  readonly compared: number;
  readonly incomparable: number;
  /** Configurations committed. */
  readonly configurations: number;
  readonly takeovers: number;
  readonly rotNoticed: number;
  readonly rotUnnoticed: number;
  /** Readings of views that were compared with others. */
  readonly viewsCompared: number;
}

const HEALED_WITHIN_MS = 30_000;
const ROT_EVERY_MS = 2000;
const FINISH_EVERY_MS = 200;
const FREEZES_MAX = 5;
const READ_WITHIN_MS = 200;

export async function runSeed(seed: number, trace?: (line: string) => void): Promise<SwarmResult> {
  const swarm = new Swarm(seed, trace);
  const failure = await failureOf(() => swarm.run());
  return { seed, failure, counts: swarm.counts };
}

/** Also of a promise that nobody waits for: a real process ends by that. */
export async function failureOf(run: () => Promise<void>): Promise<string | undefined> {
  const describe = (error: unknown) =>
    error instanceof Error ? (error.stack ?? error.message) : String(error);
  let escaped: string | undefined;
  const others = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection');
  process.on('unhandledRejection', (error) => {
    escaped ??= describe(error);
  });
  try {
    await run();
    return escaped;
  } catch (error) {
    return escaped ?? describe(error);
  } finally {
    process.removeAllListeners('unhandledRejection');
    for (const other of others) process.on('unhandledRejection', other);
  }
}

class Swarm {
  readonly #random: SimRandom;
  readonly #options: SwarmOptions;
  readonly #cluster: Cluster;
  readonly #invariants: Invariants;
  readonly #faults: Faults;
  readonly #members: MemberDriver;
  readonly #rot: RottenDisks;
  readonly #views: ViewReaders | undefined;
  #plain: SimClient[] = [];
  #accounts: AccountClient[] = [];
  #sessions: SessionClient[] = [];
  #ttls: TtlClient[] = [];
  readonly #terms = new Set<number>();
  readonly #logged = new Map<string, number>();

  constructor(seed: number, trace: ((line: string) => void) | undefined) {
    this.#random = new SimRandom(seed ^ 0x5eed);
    this.#options = drawOptions(seed, this.#random);
    this.#cluster = new Cluster({ ...this.#options.cluster, ...(trace === undefined ? {} : { trace }) });
    const [cluster, random] = [this.#cluster, this.#random];
    this.#invariants = new Invariants(cluster);
    this.#faults = new Faults(cluster, random.split());
    this.#members = new MemberDriver(cluster, random.split(), this.#invariants.configurations);
    this.#rot = new RottenDisks(cluster, random.split(), this.#members);
    // Its chance comes from elsewhere, so that the seeds stay what they were.
    this.#views = this.#options.views ? new ViewReaders(cluster, new SimRandom(seed ^ 0x71e5)) : undefined;
  }

  async run(): Promise<void> {
    const cluster = this.#cluster;
    cluster.onSend = (from, _to, message) => {
      this.#invariants.onSend(from, message);
      this.#faults.onSend(from, message);
    };
    cluster.onLog = (_server, event, fields) => this.#logLine(event, fields);
    cluster.scheduler.afterEvent = () => this.#afterEvent();
    cluster.startAll();
    this.#makeClients();
    this.#scheduleFaults();
    this.#views?.start(FAULTS_FOR_MS);
    await cluster.run(FAULTS_FOR_MS);
    await this.#heal();
    await this.#checkViews();
    this.#checkHistory();
    await this.#checkExpiry();
  }

  #makeClients(): void {
    const [cluster, random] = [this.#cluster, this.#random];
    const { workload, ballastKeys } = this.#options;
    const work = { untilMs: FAULTS_FOR_MS, pauseMeanMs: workload.pauseMeanMs };
    const some = (choices: readonly number[]) => Array.from({ length: random.pick(choices) }, (_, i) => i);
    this.#plain = some([2, 4, 8]).map((i) => new SimClient(cluster, i, workload));
    this.#accounts = some([0, 0, 3]).map((i) => new AccountClient(cluster, i, work));
    this.#sessions = some([0, 0, 3]).map((i) => new SessionClient(cluster, i, work));
    this.#ttls = some([0, 0, 3]).map((i) => new TtlClient(cluster, i, work));
    writeBallast(cluster, random.split(), ballastKeys, FAULTS_FOR_MS);
  }

  get #clients(): readonly SwarmClient[] {
    return [...this.#plain, ...this.#accounts, ...this.#sessions, ...this.#ttls];
  }

  #logLine(event: string, fields: object | undefined): void {
    const name = fields !== undefined && 'resumed' in fields && fields.resumed === true ? 'resumed' : event;
    this.#logged.set(name, (this.#logged.get(name) ?? 0) + 1);
  }

  #afterEvent(): void {
    this.#rot.afterEvent();
    this.#invariants.check();
    this.#faults.afterEvent();
    for (const server of [...this.#cluster.servers]) {
      if (server.isLeader) this.#seeLeader(server, server.replica!.raft.term);
      if (server.fatal !== undefined) this.#seeEnd(server, server.fatal);
    }
  }

  /** A server has ended by itself. */
  #seeEnd(server: SimServer, error: Error): void {
    if (error.message === 'input/output error') return;
    if (this.#rot.ended(server, error)) {
      server.fatal = undefined;
      return;
    }
    // There was no room to start at all, or its disk returned what is not there.
    const passes =
      error instanceof DiskFullError ||
      (error instanceof CorruptionError && this.#faults.isBadlyRead(server));
    if (!passes) throw error;
    server.fatal = undefined;
    this.#faults.restartLater(server, 500);
  }

  #seeLeader(leader: SimServer, term: number): void {
    if (this.#terms.has(term)) return;
    this.#terms.add(term);
    this.#faults.newLeader(leader);
    const { meanBetweenChangesMs } = this.#options;
    if (meanBetweenChangesMs === undefined || this.#cluster.scheduler.nowMs >= FAULTS_FOR_MS) return;
    this.#members.newLeader(leader);
  }

  get counts(): SwarmCounts {
    const { configurations, counts } = this.#invariants;
    const logged = (event: string) => this.#logged.get(event) ?? 0;
    return {
      ...{ crashes: this.#faults.crashes, elections: this.#terms.size },
      events: this.#cluster.scheduler.eventCount,
      operations: this.#clients.reduce((sum, client) => sum + client.operations, 0),
      unknown: this.#clients.reduce((sum, client) => sum + client.unknown, 0),
      transfers: logged('receives a snapshot') + logged('resumed'),
      resumed: logged('resumed'),
      finishedInstalls: logged('the log begins anew behind a snapshot'),
      ...counts,
      configurations: configurations.count,
      takeovers: this.#faults.takeovers,
      rotNoticed: this.#rot.noticed,
      rotUnnoticed: this.#rot.unnoticed,
      viewsCompared: this.#views?.compared ?? 0,
    };
  }

  // Faults

  #scheduleFaults(): void {
    const { meanBetweenFaultsMs, meanBetweenChangesMs, rot } = this.#options;
    this.#repeat(meanBetweenFaultsMs, () => this.#fault());
    if (meanBetweenChangesMs !== undefined) this.#repeat(meanBetweenChangesMs, () => this.#members.change());
    if (rot) this.#repeat(ROT_EVERY_MS, () => this.#rot.rot());
  }

  #repeat(meanMs: number, run: () => void): void {
    const { scheduler } = this.#cluster;
    scheduler.after(this.#random.exponential(meanMs), undefined, () => {
      if (scheduler.nowMs >= FAULTS_FOR_MS) return;
      run();
      this.#repeat(meanMs, run);
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

  // The end

  async #heal(): Promise<void> {
    const cluster = this.#cluster;
    this.#faults.mend();
    cluster.startAll();
    const finish = () => {
      this.#members.finish();
      cluster.scheduler.after(FINISH_EVERY_MS, undefined, finish);
    };
    finish();
    const healed = await cluster.until(() => this.#clients.every((client) => client.done), HEALED_WITHIN_MS);
    assert(healed, 'when all is mended, every client is served', this.#describe());
    const finished = await cluster.until(() => this.#members.finished, HEALED_WITHIN_MS);
    assert(finished, 'when all is mended, the members are the servers that there are', this.#describe());
    const agreed = await cluster.until(() => this.#atRest(), HEALED_WITHIN_MS);
    assert(agreed, 'when all is mended, the servers agree', this.#describe());
  }

  #atRest(): boolean {
    const replicas = this.#cluster.servers.map((server) => server.replica);
    const applied = new Set(replicas.map((replica) => replica?.stateMachine.appliedIndex));
    return applied.size === 1 && !applied.has(undefined) && replicas.every((r) => r!.stateMachine.atRest);
  }

  #describe(): string {
    const servers = this.#cluster.servers.map(({ id, replica }) => {
      if (replica === undefined) return `n${id} down`;
      const { raft, stateMachine, writes } = replica;
      const { log, configuration } = raft;
      const members = configuration.members.map((member) => `${member.id}:${member.role}`).join(',');
      return (
        `n${id} ${raft.role} term ${raft.term} leader ${raft.leaderId} last ${log.lastIndex} stable ${log.stableIndex} ` +
        `commit ${log.commitIndex} applied ${stateMachine.appliedIndex} outstanding ${writes.outstanding} ` +
        `members ${members}`
      );
    });
    return servers.join('; ');
  }

  #checkHistory(): void {
    const sessions: Operation<StoreOp>[] = this.#sessions.flatMap(({ history }) => history.operations);
    const history = [...this.#plain.flatMap((client) => client.history), ...sessions];
    // A read of unknown outcome says nothing.
    const telling = history.filter(
      ({ op }) => op.reply !== undefined || (op.name !== 'GET' && op.name !== 'MGET'),
    );
    const keyed = telling.every(({ op }) => op.name !== 'MGET' && op.name !== 'MSET');
    const verdict = keyed
      ? checkLinearizable(keyModel, telling as Operation<KeyOp>[])
      : checkLinearizable(storeModel, telling as Operation<StoreOp>[], { stepsMax: 300_000 });
    const accounts = this.#accounts.flatMap((client) => client.history.operations);
    const ttls = this.#ttls.flatMap((client) => client.history.operations);
    for (const { outcome, description } of [
      verdict,
      checkLinearizable(accountModel, accounts, { stepsMax: 300_000 }),
      checkLinearizable(ttlModel, ttls, { stepsMax: 300_000 }),
    ]) {
      assert(outcome !== 'violation', 'the history is linearizable', `\n${description}`);
    }
  }

  /** When all is mended, every server makes a view that is wanted, and shows the same. */
  async #checkViews(): Promise<void> {
    const [views, { servers }] = [this.#views, this.#cluster];
    if (views === undefined) return;
    let made = false;
    // There may be no leader for a moment.
    for (let tries = 0; !made && tries < FREEZES_MAX; tries++) {
      const id = views.freeze();
      const isMade = () => servers.every(({ replica }) => replica?.views.view(id) !== undefined);
      made = await this.#cluster.until(isMade, HEALED_WITHIN_MS / FREEZES_MAX);
    }
    assert(made, 'when all is mended, every server makes a view', this.#describe());
    await this.#cluster.run(READ_WITHIN_MS);
  }

  /** When the time has come by every clock, what is mortal goes, without anybody asking for it. */
  async #checkExpiry(): Promise<void> {
    const { servers } = this.#cluster;
    for (const { clockFaults } of servers) clockFaults.wallSkewMs = 24 * 3_600_000;
    const gone = await this.#cluster.until(
      () => servers.every((server) => server.replica!.stateMachine.expiring.every((count) => count === 0)),
      HEALED_WITHIN_MS,
    );
    assert(gone, 'keys that have expired are removed in the background', this.#describe());
  }
}

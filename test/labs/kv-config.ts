/**
 * The tester of the key-value labs (src/kvraft/config.go and test_test.go) over whole simulated clusters: every server is
 * a `Replica` with its log, its store and its sessions, and clerks give them commands as the server's door would.
 *
 * Two differences. A clerk sits beside its server, so the unreliable network is between the servers only. And the labs'
 * clerks repeat a request under the same number until it is answered; here it is the server that does so, for as long
 * as it lives. When it dies with a write under way, the clerk finds out by a read, once servers are back: no leader
 * of a later term can bring back what that read did not see.
 */
import { expect, test } from 'vitest';
import { dataCommands } from '../../src/kv/table.ts';
import { assert } from '../../src/lib/assert.ts';
import { ErrorReply, type Reply } from '../../src/resp/reply.ts';
import { Cluster } from '../sim/cluster.ts';
import { Invariants } from '../sim/invariants.ts';
import { type KeyOp, keyModel } from '../sim/kv-models.ts';
import { checkLinearizable, type Operation } from '../sim/linearizability.ts';
import { GOOD_NETWORK } from '../sim/network.ts';
import { SimRandom } from '../sim/random.ts';
import { ELECTION_TIMEOUT_MS } from './config.ts';
import { checkLogBytes, SNAPSHOTS_OFTEN } from './snapshot-limits.ts';
import { runScenario, sleep } from './virtual-time.ts';

/** Nobody waits so long: a cluster that is mended answers. */
const COMMAND_TIMEOUT_MS = 30_000;
/** With sessions nobody need be patient: what is sent again happens once. */
const IMPATIENT_TIMEOUT_MS = 400;
const THINKING_MS_MAX = 20;

/** "Every request delayed uniform 0-26 ms, 10 % lost": the mean of that. */
const UNRELIABLE = { ...GOOD_NETWORK, lossChance: 0.1, delayMeanMs: 13 };

export interface KvLabOptions {
  readonly servers: number;
  readonly unreliable?: boolean;
  /** The log is cut all the time, and whoever was away needs a snapshot. See snapshot-limits.ts. */
  readonly snapshots?: boolean;
  /** Clerks as the labs have them: each numbers its writes, and sends them to one server after the other until answered. */
  readonly sessions?: boolean;
}

export class KvConfig {
  readonly cluster: Cluster;
  readonly random: SimRandom;
  readonly sessions: boolean;
  readonly invariants: Invariants;
  /** What every clerk saw. */
  readonly history: Operation<KeyOp>[] = [];
  #clerks = 0;

  constructor(seed: number, options: KvLabOptions) {
    this.sessions = options.sessions === true;
    const commandTimeoutMs = this.sessions ? IMPATIENT_TIMEOUT_MS : COMMAND_TIMEOUT_MS;
    const snapshots = options.snapshots ? SNAPSHOTS_OFTEN : {};
    this.cluster = new Cluster({ seed, servers: options.servers, commandTimeoutMs, ...snapshots });
    this.random = new SimRandom(seed + 1000);
    const { network, scheduler, servers } = this.cluster;
    if (options.unreliable) network.faults = { ...UNRELIABLE };
    this.invariants = new Invariants(this.cluster);
    this.cluster.onSend = (from, _to, message) => this.invariants.onSend(from, message);
    scheduler.afterEvent = () => {
      this.invariants.check();
      for (const { fatal } of servers) if (fatal !== undefined) throw fatal;
    };
  }

  get nowMs(): number {
    return this.cluster.scheduler.nowMs;
  }

  sleep(ms: number): Promise<void> {
    return sleep(this.cluster.scheduler, ms);
  }

  clerk(servers: readonly number[] = this.cluster.ids): Clerk {
    return new Clerk(this, this.#clerks++, servers);
  }

  /** Two sides, and the leader in the smaller one. */
  async partitionOffLeader(): Promise<{ majority: number[]; minority: number[] }> {
    const { cluster } = this;
    while (cluster.leader() === undefined) await this.sleep(50);
    const leader = cluster.leader()!.id;
    const others = cluster.ids.filter((id) => id !== leader);
    const minority = [leader, others.pop()!];
    cluster.network.partition(others, minority);
    return { majority: others, minority };
  }

  /** Draws two sides anew every second or so, until `stopped`. */
  async partitionAgainAndAgain(stopped: () => boolean): Promise<void> {
    while (!stopped()) {
      const sides: number[][] = [[], []];
      for (const id of this.cluster.ids) sides[this.random.below(2)]!.push(id);
      this.cluster.network.partition(...sides);
      await this.sleep(ELECTION_TIMEOUT_MS + this.random.below(200));
    }
  }

  async restartAll(): Promise<void> {
    for (const server of this.cluster.servers) server.crash();
    await this.sleep(ELECTION_TIMEOUT_MS);
    this.cluster.startAll();
  }
}

type Outcome = { readonly known: true; readonly reply: Reply } | { readonly known: false };

export class Clerk {
  readonly id: number;
  readonly #cfg: KvConfig;
  #servers: readonly number[];
  #at: number;
  #session: string | undefined;
  #seq = 0;

  constructor(cfg: KvConfig, id: number, servers: readonly number[]) {
    this.#cfg = cfg;
    this.id = id;
    this.#servers = servers;
    this.#at = cfg.random.below(servers.length);
  }

  /** Which servers it may talk to from now on. */
  connect(servers: readonly number[]): void {
    this.#servers = servers;
    this.#at = 0;
  }

  think(): Promise<void> {
    return this.#cfg.sleep(this.#cfg.random.below(THINKING_MS_MAX));
  }

  async get(key: string): Promise<string> {
    const callMs = this.#cfg.nowMs;
    for (;;) {
      const outcome = await this.#call(['GET', key]);
      if (!outcome.known) continue;
      const { reply } = outcome;
      const value = reply === null ? null : Buffer.from(reply as Uint8Array).toString();
      this.#enter({ name: 'GET', key, reply: value }, callMs);
      return value ?? '';
    }
  }

  /** Only this clerk writes the key, so a read can tell what became of a write. */
  async append(key: string, value: string): Promise<void> {
    if (this.#cfg.sessions) return this.#writeInSession('APPEND', key, value);
    const callMs = this.#cfg.nowMs;
    for (;;) {
      const outcome = await this.#call(['APPEND', key, value]);
      if (outcome.known)
        return this.#enter({ name: 'APPEND', key, value, reply: outcome.reply as number }, callMs);
      if (!(await this.get(key)).includes(value)) continue;
      return this.#enter({ name: 'APPEND', key, value, reply: undefined }, callMs);
    }
  }

  async put(key: string, value: string): Promise<void> {
    if (this.#cfg.sessions) return this.#writeInSession('SET', key, value);
    const callMs = this.#cfg.nowMs;
    for (;;) {
      const outcome = await this.#call(['SET', key, value]);
      if (outcome.known) return this.#enter({ name: 'SET', key, value, reply: 'OK' }, callMs);
      await this.get(key);
    }
  }

  /** A write to a key that others write too: when nobody knows what became of it, nobody ever will. */
  async writeOnce(name: 'APPEND' | 'SET', key: string, value: string): Promise<void> {
    if (this.#cfg.sessions) return this.#writeInSession(name, key, value);
    const callMs = this.#cfg.nowMs;
    const outcome = await this.#call([name, key, value]);
    const reply = outcome.known ? (outcome.reply as string | number) : undefined;
    this.#enter(
      { name, key, value, reply },
      callMs,
      outcome.known ? this.#cfg.nowMs : Number.POSITIVE_INFINITY,
    );
  }

  /** "The service must handle a clerk that sends again, without knowing whether the first was executed" (lab 3A). */
  async #writeInSession(name: 'APPEND' | 'SET', key: string, value: string): Promise<void> {
    const callMs = this.#cfg.nowMs;
    this.#session ??= await this.#openSession();
    const seq = ++this.#seq;
    for (;;) {
      const outcome = await this.#call([
        'HSTORE.DO',
        this.#session,
        `${seq}`,
        `${seq - 1}`,
        name,
        key,
        value,
      ]);
      if (outcome.known)
        return this.#enter({ name, key, value, reply: outcome.reply as string | number }, callMs);
    }
  }

  async #openSession(): Promise<string> {
    for (;;) {
      const outcome = await this.#call(['HSTORE.SESSION', 'OPEN']);
      if (outcome.known) return String(outcome.reply);
    }
  }

  #enter(op: KeyOp, callMs: number, returnMs = this.#cfg.nowMs): void {
    this.#cfg.history.push({ client: this.id, op, callMs, returnMs });
  }

  /** Puts the command to one server after the other, until one has taken it. */
  async #call(words: readonly string[]): Promise<Outcome> {
    for (;;) {
      const server = this.#cfg.cluster.server(this.#servers[this.#at]!);
      if (server.replica !== undefined) {
        const outcome = await this.#submit(server.id, words);
        const refused = outcome.known && outcome.reply instanceof ErrorReply;
        if (!refused) return outcome;
        // Its deadline has passed; or a snapshot brought its effect, and not its reply.
        if (outcome.reply.code === 'TIMEOUT') {
          this.#at = (this.#at + 1) % this.#servers.length;
          return { known: false };
        }
        assert(
          outcome.reply.code === 'CLUSTERDOWN',
          'a refusal says that nothing was done',
          outcome.reply.message,
        );
      }
      this.#at = (this.#at + 1) % this.#servers.length;
      await this.#cfg.sleep(50);
    }
  }

  /** What the server answers, or not known when it died before that. */
  #submit(id: number, words: readonly string[]): Promise<Outcome> {
    const { scheduler } = this.#cfg.cluster;
    const { replica, life } = this.#cfg.cluster.server(id);
    return new Promise((resolve) => {
      let settled = false;
      const settle = (outcome: Outcome) => {
        if (settled) return;
        settled = true;
        scheduler.settle();
        resolve(outcome);
      };
      const argv = words.map((word) => Buffer.from(word));
      const row = dataCommands.get(words[0]!.toLowerCase())!;
      const waiter = { resolve: (reply: Reply) => settle({ known: true, reply }) };
      if (row.kind === 'read') replica!.read(0, row, argv, waiter);
      else replica!.write(0, argv, waiter);
      const look = () => {
        if (settled) return;
        if (!life!.alive) settle({ known: false });
        else scheduler.after(100, undefined, look, true);
      };
      scheduler.after(100, undefined, look, true);
    });
  }
}

/** Every append of the client is there, once, and in its order. */
export function checkAppends(client: number, value: string, count: number): void {
  let last = -1;
  for (let j = 0; j < count; j++) {
    const wanted = `x ${client} ${j} y`;
    const at = value.indexOf(wanted);
    expect(at, `client ${client}: ${wanted} is present`).toBeGreaterThanOrEqual(0);
    expect(value.lastIndexOf(wanted), `client ${client}: ${wanted} is there once`).toBe(at);
    expect(at, `client ${client}: ${wanted} is in order`).toBeGreaterThan(last);
    last = at;
  }
}

export interface GenericOptions extends KvLabOptions {
  readonly clients: number;
  readonly crash?: boolean;
  readonly partitions?: boolean;
  readonly randomKeys?: boolean;
}

/** GenericTest of the labs: three rounds of five seconds, clients append and get, and at the end nothing is amiss. */
export async function genericTest(cfg: KvConfig, options: GenericOptions): Promise<void> {
  const ck = cfg.clerk();
  const clerks = Array.from({ length: options.clients }, () => cfg.clerk());
  for (let round = 0; round < 3; round++) {
    let stop = false;
    const clients = clerks.map((clerk, me) => runClient({ cfg, clerk, me, options, stopped: () => stop }));
    let partitioner: Promise<void> | undefined;
    if (options.partitions) {
      await cfg.sleep(1000);
      partitioner = cfg.partitionAgainAndAgain(() => stop);
    }
    await cfg.sleep(5000);
    stop = true;
    if (options.partitions) {
      await partitioner;
      cfg.cluster.network.mendAll();
      await cfg.sleep(ELECTION_TIMEOUT_MS);
    }
    if (options.crash) await cfg.restartAll();
    for (const [me, client] of clients.entries()) {
      const count = await client;
      const value = await ck.get(`${me}`);
      if (!options.randomKeys) checkAppends(me, value, count);
    }
  }
  if (options.snapshots) checkLogBytes(cfg.cluster);
  const verdict = checkLinearizable(keyModel, cfg.history);
  expect(verdict.outcome, verdict.description).toBe('ok');
}

interface ClientOptions {
  readonly cfg: KvConfig;
  readonly clerk: Clerk;
  readonly me: number;
  readonly options: GenericOptions;
  readonly stopped: () => boolean;
}

/** How many appends it made. */
async function runClient({ cfg, clerk, me, options, stopped }: ClientOptions): Promise<number> {
  const { random } = cfg;
  let j = 0;
  let last = '';
  if (!options.randomKeys) await clerk.put(`${me}`, last);
  while (!stopped()) {
    const value = `x ${me} ${j} y`;
    if (options.randomKeys) {
      const key = `${random.below(options.clients)}`;
      if (random.chance(0.5)) await clerk.writeOnce('APPEND', key, value);
      else if (random.chance(0.1)) await clerk.writeOnce('SET', key, value);
      else await clerk.get(key);
      j++;
    } else if (random.chance(0.5)) {
      await clerk.append(`${me}`, value);
      last += value;
      j++;
    } else expect(await clerk.get(`${me}`)).toBe(last);
    await clerk.think();
  }
  return j;
}

/** One test of the labs over a whole cluster, in a few worlds. */
export function kvLab(
  title: string,
  options: KvLabOptions & { readonly seeds?: number },
  scenario: (cfg: KvConfig) => Promise<void>,
): void {
  test(title, { timeout: 60_000 }, async () => {
    for (let seed = 1; seed <= (options.seeds ?? 2); seed++) {
      const cfg = new KvConfig(seed, options);
      try {
        await runScenario(cfg.cluster.scheduler, async () => {
          cfg.cluster.startAll();
          await scenario(cfg);
        });
      } catch (error) {
        throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
      }
    }
  });
}

export function genericLab(title: string, options: GenericOptions & { readonly seeds?: number }): void {
  kvLab(title, options, (cfg) => genericTest(cfg, options));
}

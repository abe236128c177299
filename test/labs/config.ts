/**
 * The tester of the Raft labs (src/raft/config.go) over hstore's own parts: `RaftHost`, `Raft` and `Wal` on a simulated
 * disk, a state machine that writes down what it is given, and the network of labrpc, in virtual time.
 *
 * Indexes. A new leader of ours appends an entry of its own (the no-op of §8), the labs' leaders do not. So the labs'
 * index n is here the n-th entry that carries a command; entries without one are not counted.
 */
import { test } from 'vitest';
import { assert } from '../../src/lib/assert.ts';
import { RaftHost } from '../../src/raft/host.ts';
import { DEFAULT_LIMITS, type RaftLimits } from '../../src/raft/limits.ts';
import { EMPTY_LOG } from '../../src/raft/log.ts';
import { Raft } from '../../src/raft/raft.ts';
import { type Entry, NOBODY, type StateMachine } from '../../src/raft/types.ts';
import { Wal } from '../../src/raft/wal.ts';
import { foundingOf } from '../raft/cores.ts';
import { SimClock } from '../sim/clock.ts';
import { SimDisk } from '../sim/disk.ts';
import { SimRandom } from '../sim/random.ts';
import { type Life, Scheduler } from '../sim/scheduler.ts';
import { LabNetwork } from './lab-network.ts';
import { runScenario, sleep } from './virtual-time.ts';

/** The labs' word for "an election is over by then". */
export const ELECTION_TIMEOUT_MS = 1000;
const GROUP = 1;
const SEGMENT_BYTES = 64 << 10;

export interface LabOptions {
  readonly servers: number;
  readonly unreliable?: boolean;
  /** How many worlds to run it in. */
  readonly seeds?: number;
  /** In every other world elections come as fast as in the paper (§9.3), so that there are many. */
  readonly fastElections?: boolean;
}

const FAST_ELECTIONS = { ...DEFAULT_LIMITS, electionTimeoutMs: 150, heartbeatIntervalMs: 30 };
const SEEDS = 10;

export interface Started {
  /** As the labs count: see above. */
  readonly index: number;
  readonly term: number;
  readonly ok: boolean;
}

/** Writes down what is applied, and has the tester compare. It remembers nothing across restarts: the log tells it all. */
class Recorder implements StateMachine {
  appliedIndex = 0;
  readonly commands: string[] = [];
  readonly #onCommand: (index: number, command: string) => void;

  constructor(onCommand: (index: number, command: string) => void) {
    this.#onCommand = onCommand;
  }

  apply(entries: readonly Entry[], done: () => void): void {
    for (const entry of entries) {
      assert(
        entry.index === this.appliedIndex + 1,
        'entries are applied in order',
        entry.index,
        this.appliedIndex,
      );
      this.appliedIndex = entry.index;
      if (entry.type !== 'data') continue;
      const command = Buffer.from(entry.data).toString();
      this.commands.push(command);
      this.#onCommand(this.commands.length, command);
    }
    done();
  }
}

/** One life of one server. */
interface Running {
  readonly life: Life;
  readonly raft: Raft;
  readonly host: RaftHost;
  readonly recorder: Recorder;
}

export class Config {
  readonly n: number;
  readonly random: SimRandom;
  readonly scheduler = new Scheduler();
  readonly network: LabNetwork;
  readonly #limits: RaftLimits;
  readonly #disks: SimDisk[];
  readonly #servers: (Running | undefined)[];
  readonly #clocks: { rate: number; wallSkewMs: number }[];
  /** By the term: who led it. */
  readonly #leaders = new Map<number, number>();
  /** What any server has applied at an index, in this life or another. */
  readonly #committed: string[] = [''];

  constructor(seed: number, options: LabOptions) {
    this.n = options.servers;
    this.#limits = options.fastElections && seed % 2 === 0 ? FAST_ELECTIONS : DEFAULT_LIMITS;
    this.random = new SimRandom(seed);
    this.network = new LabNetwork(this.scheduler, this.random.split(), (to, message) => {
      this.#servers[to - 1]?.host.step([message]);
    });
    this.network.reliable = options.unreliable !== true;
    const all = Array.from({ length: this.n });
    this.#disks = all.map(() => new SimDisk(this.scheduler, this.random.split()));
    this.#clocks = all.map(() => ({ rate: this.random.between(0.99, 1.01), wallSkewMs: 0 }));
    this.#servers = all.map(() => undefined);
    this.scheduler.afterEvent = () => this.#checkLeaders();
  }

  /** "At most one leader can be elected in a given term" (figure 3), also among those who are cut off. */
  #checkLeaders(): void {
    for (const [i, server] of this.#servers.entries()) {
      if (server?.raft.role !== 'leader') continue;
      const { term } = server.raft;
      const before = this.#leaders.get(term);
      assert(before === undefined || before === i, 'a term has one leader (§5.2)', term, before, i);
      this.#leaders.set(term, i);
    }
  }

  // Servers, numbered from 0 as in the labs

  async startAll(): Promise<void> {
    for (let i = 0; i < this.n; i++) {
      await this.start1(i);
      this.connect(i);
    }
  }

  /** Crashes the server if it runs, and starts it with what its disk holds. It is not connected by that. */
  async start1(i: number): Promise<void> {
    this.crash1(i);
    const life: Life = { alive: true, paused: false, held: [] };
    const clock = new SimClock(this.scheduler, life, this.#clocks[i]!, this.random.split());
    const random = this.random.split();
    const fatal = (error: Error) => {
      throw error;
    };
    const opened = Wal.open({
      ...{ disk: this.#disks[i]!.open(life), clock, random, directory: 'wal', segmentBytes: SEGMENT_BYTES },
      log: SILENT,
      keepBytes: Number.MAX_SAFE_INTEGER,
      stateOf: () => ({ appliedIndex: 0, appliedTerm: 0, installed: undefined }),
      onFatal: fatal,
    });
    const { wal, recovered } = await opened;
    const raft = new Raft({
      ...{
        group: GROUP,
        id: i + 1,
        configuration: {
          index: 0,
          configuration: foundingOf(Array.from({ length: this.n }, (_, j) => j + 1)),
        },
      },
      limits: this.#limits,
      hardState: recovered.get(GROUP)?.hardState ?? { term: 0, votedFor: NOBODY },
      log: recovered.get(GROUP)?.log ?? EMPTY_LOG,
      ...{ random, nowMs: clock.monotonicMs() },
    });
    const recorder = new Recorder((index, command) => this.#checkApplied(i, index, command));
    const transport = {
      send: (peer: number, messages: readonly Parameters<LabNetwork['send']>[2][]) => {
        if (!life.alive) return;
        for (const message of messages) this.network.send(i + 1, peer, message);
      },
    };
    const host = new RaftHost({ clock, wal, transport });
    host.add({ raft, stateMachine: recorder });
    this.#servers[i] = { life, raft, host, recorder };
  }

  /** Power loss: of what its disk was writing, anything may be there. */
  crash1(i: number): void {
    this.disconnect(i);
    const server = this.#servers[i];
    if (server === undefined) return;
    server.life.alive = false;
    this.#servers[i] = undefined;
    this.#disks[i]!.crash();
  }

  up(i: number): boolean {
    return this.#servers[i] !== undefined;
  }

  connect(i: number): void {
    this.network.connect(i + 1);
  }

  disconnect(i: number): void {
    this.network.disconnect(i + 1);
  }

  connected(i: number): boolean {
    return this.network.connected(i + 1);
  }

  /** Proposes a command at server `i`, whoever it is and whether or not anybody hears it. */
  start(i: number, command: number | string): Started {
    const server = this.#servers[i];
    if (server === undefined) return { index: -1, term: -1, ok: false };
    const proposed = server.host.propose(GROUP, Buffer.from(String(command)));
    if (!proposed.accepted) return { index: -1, term: server.raft.term, ok: false };
    const entries = server.raft.log.slice(1, Number.MAX_SAFE_INTEGER)!;
    return { index: entries.filter(({ type }) => type === 'data').length, term: proposed.term, ok: true };
  }

  state(i: number): { term: number; isLeader: boolean } {
    const { raft } = this.#servers[i]!;
    return { term: raft.term, isLeader: raft.role === 'leader' };
  }

  // Checks

  /** "Same index, same value, on all", and in order: an index is applied right after the one before it. */
  #checkApplied(i: number, index: number, command: string): void {
    const known = this.#committed[index];
    assert(
      known === undefined || known === command,
      `server ${i} applies what the others did`,
      index,
      known,
      command,
    );
    assert(index <= this.#committed.length, 'no index is left out', index);
    this.#committed[index] = command;
  }

  sleep(ms: number): Promise<void> {
    return sleep(this.scheduler, ms);
  }

  /** The leader of the highest term among the connected, of which each term has one at most. Ten tries of half a second. */
  async checkOneLeader(): Promise<number> {
    for (let tries = 0; tries < 10; tries++) {
      await this.sleep(450 + this.random.below(100));
      const leaders = new Map<number, number>();
      for (let i = 0; i < this.n; i++) {
        if (!this.connected(i) || !this.up(i) || !this.state(i).isLeader) continue;
        const { term } = this.state(i);
        assert(!leaders.has(term), 'a term has one leader', term);
        leaders.set(term, i);
      }
      if (leaders.size > 0) return leaders.get(Math.max(...leaders.keys()))!;
    }
    throw new Error('expected one leader, got none');
  }

  /** The term on which all who are connected agree. */
  checkTerms(): number {
    const terms = new Set<number>();
    for (let i = 0; i < this.n; i++) if (this.connected(i)) terms.add(this.state(i).term);
    assert(terms.size === 1, 'servers agree on the term', [...terms].join(' '));
    return [...terms][0]!;
  }

  checkNoLeader(): void {
    for (let i = 0; i < this.n; i++) {
      if (this.connected(i)) assert(!this.state(i).isLeader, 'there is no leader without a quorum', i);
    }
  }

  /** How many servers have applied something at `index`, and what. */
  nCommitted(index: number): { count: number; command: string | undefined } {
    let count = 0;
    let command: string | undefined;
    for (const server of this.#servers) {
      const applied = server?.recorder.commands[index - 1];
      if (applied === undefined) continue;
      assert(count === 0 || applied === command, 'committed values do not match', index, applied, command);
      count++;
      command = applied;
    }
    return { count, command };
  }

  /** Waits for `count` servers to commit `index`: its command, or undefined once some server has left `startTerm`. */
  async wait(index: number, count: number, startTerm = -1): Promise<string | undefined> {
    let pauseMs = 10;
    for (let tries = 0; tries < 30 && this.nCommitted(index).count < count; tries++) {
      await this.sleep(pauseMs);
      if (pauseMs < 1000) pauseMs *= 2;
      if (startTerm < 0) continue;
      for (const server of this.#servers)
        if (server !== undefined && server.raft.term > startTerm) return undefined;
    }
    const committed = this.nCommitted(index);
    assert(committed.count >= count, `index ${index} is decided by enough servers`, committed.count, count);
    return committed.command;
  }

  /**
   * A whole agreement: proposes `command` at whoever leads, and waits until `expectedServers` have applied it; its index.
   * Ten seconds in all, two for each proposal; with `retry` it is proposed again when one was lost.
   */
  async one(command: number | string, expectedServers: number, retry: boolean): Promise<number> {
    const beginMs = this.scheduler.nowMs;
    let at = 0;
    while (this.scheduler.nowMs - beginMs < 10_000) {
      let index = -1;
      for (let tries = 0; tries < this.n && index < 0; tries++) {
        at = (at + 1) % this.n;
        if (this.connected(at)) index = this.start(at, command).index;
      }
      if (index < 0) {
        await this.sleep(50);
        continue;
      }
      if (await this.#decided(index, String(command), expectedServers)) return index;
      assert(retry, 'reaches agreement', command);
    }
    throw new Error(`${command} failed to reach agreement`);
  }

  async #decided(index: number, command: string, expectedServers: number): Promise<boolean> {
    const beginMs = this.scheduler.nowMs;
    while (this.scheduler.nowMs - beginMs < 2000) {
      const committed = this.nCommitted(index);
      if (committed.count > 0 && committed.count >= expectedServers && committed.command === command)
        return true;
      await this.sleep(20);
    }
    return false;
  }

  rpcCount(i: number): number {
    return this.network.rpcCount(i + 1);
  }

  rpcTotal(): number {
    let total = 0;
    for (let i = 0; i < this.n; i++) total += this.rpcCount(i);
    return total;
  }

  bytesTotal(): number {
    return this.network.bytesTotal;
  }
}

const nothing = () => {};
const SILENT = { debug: nothing, verbose: nothing, notice: nothing, warning: nothing };

/** One test of the labs, with all of its servers started, in a few worlds. */
export function lab(title: string, options: LabOptions, scenario: (cfg: Config) => Promise<void>): void {
  test(title, { timeout: 60_000 }, async () => {
    for (let seed = 1; seed <= (options.seeds ?? SEEDS); seed++) {
      const cfg = new Config(seed, options);
      try {
        await runScenario(cfg.scheduler, async () => {
          await cfg.startAll();
          await scenario(cfg);
        });
      } catch (error) {
        throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
      }
    }
  });
}

/**
 * What a server has beside its disk and its network when jobs run on it, in virtual time: files for bulk work, which outlive
 * it, and threads, which do not. How threads do is decided by `Fortune`.
 */
import type { Thread, ThreadEvents, Threads } from '../../../src/lib/bulk.ts';
import {
  type ClusterMission,
  MAPREDUCE_CLUSTER_WORKER,
} from '../../../src/mapreduce/cluster/cluster-worker-protocol.ts';
import { MAPREDUCE_PLANNER, runPlanner } from '../../../src/mapreduce/cluster/planning.ts';
import {
  type FromShuffle,
  MAPREDUCE_SHUFFLE,
  type ToShuffle,
} from '../../../src/mapreduce/shuffle-thread.ts';
import type { Cluster } from '../../sim/cluster.ts';
import type { Life } from '../../sim/scheduler.ts';
import { MemoryFiles } from '../memory-files.ts';
import type { Fortune } from './sim-fortune.ts';
import { type FetchedFrom, ROOT, SimClusterWorker } from './sim-worker.ts';

const BOOT_MS = 20;
const MESSAGE_MS = 0.05;
const EXIT_MS = 5;
const FIRST_PORT = 20_000;

interface Shuffle {
  readonly life: Life;
  readonly thread: SimThread;
  readonly port: number;
  /** The jobs that it serves, by the names of their directories, and their keys. */
  jobs: ReadonlyMap<string, string>;
}

export class SimMachine {
  readonly node: number;
  readonly world: SimMachines;
  files: MemoryFiles;
  shuffle: Shuffle | undefined;
  #threads = new Set<SimThread>();

  constructor(world: SimMachines, node: number, files: MemoryFiles) {
    this.world = world;
    this.node = node;
    this.files = files;
  }

  /** Threads that there are now. */
  get alive(): number {
    return [...this.#threads].filter(({ isAlive }) => isAlive).length;
  }

  threads(life: Life, cores: number): Threads {
    this.#threads = new Set();
    return {
      cores,
      start: (name, data, events) => {
        const thread = new SimThread(this, name, { life, events });
        this.#threads.add(thread);
        thread.run(data);
        return thread;
      },
    };
  }

  /** One of its threads ends as if it had run out of memory. */
  /** Not one that looks for the input: its client would be told. */
  killThread(pick: (threads: readonly SimThread[]) => SimThread): void {
    const alive = [...this.#threads].filter(({ isAlive, name }) => isAlive && name !== MAPREDUCE_PLANNER);
    if (alive.length > 0) pick(alive).die('killed');
  }

  /** Everything that jobs have left here is gone. */
  emptyDisk(): void {
    this.files.removeDirectory(ROOT);
  }

  /** Directories of jobs, with files or without. */
  get directories(): string[] {
    return this.files.list(ROOT);
  }
}

/** Of all servers. */
export class SimMachines {
  readonly cluster: Cluster;
  readonly fortune: Fortune;
  readonly #machines = new Map<number, SimMachine>();
  /** On every machine. */
  readonly #inputs = new Map<string, Uint8Array>();
  #lastPort = FIRST_PORT;
  /** `from>to`: the shuffle servers there cannot be reached from here, for good. */
  readonly walls = new Set<string>();

  constructor(cluster: Cluster, fortune: Fortune) {
    this.cluster = cluster;
    this.fortune = fortune;
  }

  get all(): readonly SimMachine[] {
    return [...this.#machines.values()];
  }

  machine(node: number): SimMachine {
    let machine = this.#machines.get(node);
    if (machine === undefined) {
      const files = new MemoryFiles();
      for (const [path, content] of this.#inputs) files.put(path, content);
      machine = new SimMachine(this, node, files);
      this.#machines.set(node, machine);
    }
    return machine;
  }

  /** A file that all servers have. */
  putInput(path: string, text: string): void {
    const content = Buffer.from(text);
    this.#inputs.set(path, content);
    for (const { files } of this.all) files.put(path, content);
  }

  nextPort(): number {
    return ++this.#lastPort;
  }

  /** The shuffle server that listens there, as far as `from` can reach it now. */
  reach(from: number, to: number, port: number): FetchedFrom | undefined {
    const { network } = this.cluster;
    const machine = this.machine(to);
    const { shuffle } = machine;
    const isThere = shuffle?.port === port && shuffle.life.alive && !shuffle.life.paused;
    const isOpen = network.connected(from, to) && network.connected(to, from);
    if (!isThere || !isOpen || this.walls.has(`${from}>${to}`) || shuffle?.thread.isAlive !== true)
      return undefined;
    return { files: machine.files, jobs: shuffle.jobs };
  }
}

/** One thread. What it does happens while its server is up, and not paused. */
export class SimThread implements Thread {
  readonly machine: SimMachine;
  readonly name: string;
  readonly #life: Life;
  readonly #events: ThreadEvents;
  #ended = false;
  /** While it boots. */
  #inbox: unknown[] | undefined = [];
  #onMessage: (message: unknown) => void = () => {};

  constructor(machine: SimMachine, name: string, { life, events }: { life: Life; events: ThreadEvents }) {
    this.machine = machine;
    this.name = name;
    this.#life = life;
    this.#events = events;
  }

  get isAlive(): boolean {
    return !this.#ended && this.#life.alive;
  }

  run(data: unknown): void {
    this.after(BOOT_MS, () => {
      this.#begin(data);
      const early = this.#inbox ?? [];
      this.#inbox = undefined;
      for (const message of early) this.#onMessage(message);
    });
  }

  #begin(data: unknown): void {
    switch (this.name) {
      case MAPREDUCE_CLUSTER_WORKER: {
        const worker = new SimClusterWorker(this, data as ClusterMission);
        this.#onMessage = (message) => worker.execute(message);
        return;
      }
      case MAPREDUCE_SHUFFLE:
        return this.#serveShuffle();
      case MAPREDUCE_PLANNER: {
        const post = (message: unknown) => this.say(message);
        return runPlanner({ data, onMessage: () => {}, post }, this.machine.files);
      }
      default:
        throw new Error(`no thread is called ${this.name}`);
    }
  }

  post(message: unknown): void {
    this.after(MESSAGE_MS, () => {
      if (this.#inbox === undefined) this.#onMessage(message);
      else this.#inbox.push(message);
    });
  }

  terminate(): void {
    this.#end(null);
  }

  die(reason: string): void {
    this.#end(new Error(reason));
  }

  // Of the thread itself

  after(ms: number, run: () => void): void {
    const { scheduler } = this.machine.world.cluster;
    const ifAlive = () => {
      if (!this.#ended) run();
    };
    scheduler.after(ms, this.#life, ifAlive, true);
  }

  say(message: unknown): void {
    this.after(MESSAGE_MS, () => this.#events.onMessage(message));
  }

  #end(error: Error | null): void {
    if (this.#ended) return;
    this.#ended = true;
    const { scheduler } = this.machine.world.cluster;
    scheduler.after(EXIT_MS, this.#life, () => this.#events.onExit(error), true);
  }

  /** As shuffle-thread.ts, but for the bytes. */
  #serveShuffle(): void {
    const { machine } = this;
    const { world, node } = machine;
    const say = (message: FromShuffle) => this.say(message);
    const port = world.nextPort();
    const shuffle: Shuffle = { life: this.#life, thread: this, port, jobs: new Map() };
    machine.shuffle = shuffle;
    this.#onMessage = (message) => {
      const { jobs } = message as ToShuffle;
      shuffle.jobs = new Map(jobs.map(([job, key]) => [job, Buffer.from(key).toString('hex')]));
      for (const name of machine.directories) {
        if (!shuffle.jobs.has(name)) machine.files.removeDirectory(`${ROOT}/${name}`);
      }
      say({ kind: 'swept', jobs: jobs.length });
    };
    say({ kind: 'listening', port });
    const livesMs = world.fortune.shuffleLivesMs(node);
    if (livesMs !== undefined) this.after(livesMs, () => this.die('out of memory'));
  }
}

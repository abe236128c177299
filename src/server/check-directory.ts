/**
 * `hstore server --check-dir`: everything in the data directory of a server that is down, verified: the identity, the peers
 * it has met, every record of the log and of the store, and whether the two belong together, by the rules of recovery.
 *
 * Nothing is changed in the log or the store. The store is opened, which takes the lock of the directory, and LevelDB
 * may rewrite its own log as it does at every start.
 */
import { inspectStore, type StoreReport } from '../kv/inspect.ts';
import { findState } from '../kv/recovery.ts';
import { decodeProgress } from '../kv/snapshot-progress.ts';
import { progressKey } from '../kv/stored-keys.ts';
import type { Disk, Env, Store } from '../lib/env.ts';
import { ConfigError, CorruptionError, InUseError } from '../lib/errors.ts';
import { DAMAGE_ADVICE } from '../raft/wal-damage.ts';
import { WAL_VERSION } from '../raft/wal-format.ts';
import { inspectWal } from '../raft/wal-inspect.ts';
import type { LogPosition } from '../raft/wal-rebuild.ts';
import { parseIdentity, type StoredIdentity } from './identity.ts';
import { MetPeers } from './met-peers.ts';
import { GROUP } from './node.ts';

export interface DirectoryProblem {
  /** The file or directory, and what is wrong with it where. */
  readonly text: string;
  /** What to do about it. */
  readonly advice: string;
}

/** What was found, in words for people. */
export interface DirectoryReport {
  readonly facts: readonly { readonly of: string; readonly lines: readonly string[] }[];
  /** None: the directory is whole. */
  readonly problems: readonly DirectoryProblem[];
}

/** What of the store has been looked at. */
export interface CheckProgress {
  readonly keys: number;
  readonly bytes: number;
}

const NAMES = ['identity', 'peers', 'wal', 'store'];
/** One who is alone has no other server to get its data from. */
const REPLACE = `${DAMAGE_ADVICE}; a server alone is to be restored from a backup`;
const MISPLACED =
  'put the right file back, or replace this server: remove it with CLUSTER FORGET on another one, empty its directory, and start it with --join';

/**
 * Throws InUseError while a server uses the directory, ConfigError when it holds no data of hstore, and what kept the
 * files from being read. All else is in the report.
 */
export async function checkDirectory(
  env: Pick<Env, 'disk' | 'stores' | 'log'>,
  path: string,
  onProgress: (progress: CheckProgress) => void = () => undefined,
): Promise<DirectoryReport> {
  const names = await env.disk.list(path);
  if (!names.some((name) => NAMES.includes(name))) {
    throw new ConfigError(`the directory ${path} holds no data of hstore: name a server's --dir`);
  }
  return new Check(env, path, onProgress).run();
}

/** What the store says, for the comparison with the log. */
interface Stored {
  readonly report: StoreReport;
  readonly installed: LogPosition | undefined;
}

class Check {
  readonly #env: Pick<Env, 'disk' | 'stores' | 'log'>;
  readonly #disk: Disk;
  readonly #path: string;
  readonly #onProgress: (progress: CheckProgress) => void;
  readonly #facts: { of: string; lines: string[] }[] = [];
  readonly #problems: DirectoryProblem[] = [];

  constructor(
    env: Pick<Env, 'disk' | 'stores' | 'log'>,
    path: string,
    onProgress: (progress: CheckProgress) => void,
  ) {
    this.#env = env;
    this.#disk = env.disk;
    this.#path = path;
    this.#onProgress = onProgress;
  }

  async run(): Promise<DirectoryReport> {
    // Before anything else, for it is the lock: what a server is writing would look damaged.
    const store = await this.#openStore();
    try {
      const identity = await this.#checkIdentity();
      await this.#checkPeers();
      if (identity?.stage !== 'emptying') {
        const stored = store === undefined ? undefined : await this.#checkStore(store);
        await this.#checkLog(identity, stored);
      }
    } finally {
      await store?.close();
    }
    return { facts: this.#facts, problems: this.#problems };
  }

  #fact(of: string, ...lines: string[]): void {
    this.#facts.push({ of, lines });
  }

  /** `message` may end with what to do. */
  #problem(message: string, advice = REPLACE): void {
    const suffix = `; ${DAMAGE_ADVICE}`;
    const text = message.endsWith(suffix) ? message.slice(0, -suffix.length) : message;
    this.#problems.push({ text, advice });
  }

  async #openStore(): Promise<Store | undefined> {
    const path = `${this.#path}/store`;
    if ((await this.#disk.list(path)).length === 0) {
      // To open it would make one.
      this.#problem(`${path} is missing or empty: the store was removed or lost`);
      return undefined;
    }
    try {
      return await this.#env.stores.open(path);
    } catch (error) {
      if (error instanceof InUseError) {
        throw new InUseError(`the data directory ${this.#path} is in use by a running server`, error);
      }
      if (!(error instanceof CorruptionError)) throw error;
      this.#problem(error.message);
      return undefined;
    }
  }

  async #checkIdentity(): Promise<StoredIdentity | undefined> {
    const path = `${this.#path}/identity`;
    const content = await this.#disk.readFile(path);
    if (content === undefined) {
      this.#problem(`${path} is missing`, MISPLACED);
      return undefined;
    }
    try {
      const identity = parseIdentity(content, path);
      this.#fact('identity', ...identityLines(identity));
      return identity;
    } catch (error) {
      this.#refused(error);
      return undefined;
    }
  }

  async #checkPeers(): Promise<void> {
    const path = `${this.#path}/peers`;
    if ((await this.#disk.readFile(path)) === undefined) return this.#fact('peers', 'has met none');
    try {
      await MetPeers.load(this.#disk, this.#env.log, path);
      this.#fact('peers', 'whole');
    } catch (error) {
      this.#refused(error);
    }
  }

  /** These errors say themselves what to do, behind a colon. */
  #refused(error: unknown): void {
    if (!(error instanceof ConfigError)) throw error;
    const [, text, advice] = /^([\s\S]*): ([^:]*)$/.exec(error.message) ?? [];
    if (text === undefined) this.#problem(error.message, MISPLACED);
    else this.#problem(text, advice);
  }

  async #checkStore(store: Store): Promise<Stored | undefined> {
    try {
      const report = await inspect(store, this.#onProgress);
      for (const problem of report.problems) this.#problem(`${this.#path}/store: ${problem}`);
      if (report.problems.length > 0 && report.generation + report.appliedIndex + report.bytes === 0) {
        return undefined;
      }
      const { installed, format, incoming } = await origin(store);
      this.#fact('store', ...storeLines(report, format), ...incoming);
      return { report, installed };
    } catch (error) {
      if (error instanceof ConfigError) this.#refused(error);
      else if (error instanceof CorruptionError) this.#problem(error.message);
      else throw error;
      return undefined;
    }
  }

  async #checkLog(identity: StoredIdentity | undefined, stored: Stored | undefined): Promise<void> {
    const path = `${this.#path}/wal`;
    const applied = stored?.report;
    const state = applied && { ...applied, installed: stored?.installed };
    const found = await inspectWal(this.#disk, path, state && (() => state));
    const { segments, bytes, groups, tornTailAt, problems } = found;
    for (const problem of problems) this.#problem(problem);
    const lost = identity?.stage === 'running' || (applied?.appliedIndex ?? 0) > 0;
    if (segments === 0 && lost) this.#problem(`${path} is missing or empty: the log was removed or lost`);
    const lines = [`format ${WAL_VERSION}, ${segments} segments, ${inMegabytes(bytes)}`];
    const upTo = problems.length === 0 ? '' : ' (as far as it is readable)';
    for (const { group, firstIndex, lastIndex, lastTerm, term, votedFor } of groups) {
      const entries = lastIndex < firstIndex ? `none behind ${lastIndex}` : `${firstIndex} to ${lastIndex}`;
      lines.push(
        `group ${group}: entries ${entries}, the last of term ${lastTerm}; ` +
          `in term ${term}, ${votedFor === 0 ? 'voted for nobody' : `voted for ${votedFor}`}${upTo}`,
      );
    }
    if (tornTailAt !== undefined) {
      const { file, offset } = tornTailAt;
      lines.push(
        `an unfinished write in ${file} at byte ${offset}: a crash left it, and the next start cuts it off`,
      );
      lines.push('(no damage: it was not acknowledged)');
    }
    this.#fact('log', ...lines);
  }
}

function inspect(store: Store, onProgress: (progress: CheckProgress) => void): Promise<StoreReport> {
  return new Promise((resolve, reject) => {
    inspectStore(store, GROUP, { onProgress }, (error, report) =>
      error === null ? resolve(report!) : reject(error),
    );
  });
}

interface StoreOrigin {
  readonly installed: LogPosition | undefined;
  readonly format: number | undefined;
  readonly incoming: readonly string[];
}

function origin(store: Store): Promise<StoreOrigin> {
  return new Promise((resolve, reject) => {
    findState(store, GROUP, (error, state) => {
      if (error !== null) return reject(error);
      store.getMany([progressKey(GROUP)], (failure, [stored]) => {
        if (failure !== null) return reject(failure);
        const progress = decodeProgress(GROUP, stored);
        const incoming = progress && `a snapshot up to entry ${progress.incoming.index} has come in part: `;
        resolve({
          installed: state!.origin.installed,
          format: state!.meta?.[0],
          incoming: incoming === undefined ? [] : [`${incoming}${inMegabytes(progress!.bytes)}`],
        });
      });
    });
  });
}

function identityLines(identity: StoredIdentity): string[] {
  const { name, nodeId, clusterId, origin: from, stage, members } = identity;
  const lines = [`server ${name}, id ${nodeId}, of cluster ${clusterId}`];
  const how = { alone: 'began alone', founder: 'a founder', joined: 'joined' }[from];
  const at = members.map((member) => `${member.name}=${member.host}:${member.port}`).join(', ');
  lines.push(at === '' ? how : `${how}: ${at}`);
  const stages = {
    new: 'new: it has not run yet',
    running: 'running: it has a log',
    emptying: 'emptying: it was let into a cluster, and the next start removes what it had before',
    removed: 'removed from its cluster: it will not start again with these data',
  };
  lines.push(`stage ${stages[stage]}`);
  return lines;
}

function storeLines(report: StoreReport, format: number | undefined): string[] {
  const { generation, appliedIndex, appliedTerm, keys, sessions, bytes } = report;
  if (format === undefined) return ['no checkpoint yet'];
  return [
    `format ${format}, generation ${generation}: the state after entry ${appliedIndex} of term ${appliedTerm}`,
    `${keys} keys, ${sessions} sessions, ${inMegabytes(bytes)}`,
  ];
}

function inMegabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MB`;
}

/**
 * The data directory:
 *
 *   DIR/identity    whose data these are (identity.ts)     DIR/store/    the store (LevelDB), which holds the lock
 *   DIR/peers       whom it has met (met-peers.ts)         DIR/wal/      the write-ahead log
 *
 * The identity is written once. Later starts go by the file, and what flags say must not contradict it: a server that
 * votes under a name that is not its own can cost acknowledged writes. So what is damaged or foreign is refused with what
 * to do about it. Only a server without data takes on another identity, when it is let into a cluster (`becomeMember`).
 */

import type { Config } from '../config/config.ts';
import { formatMembers } from '../config/members.ts';
import type { Env, Store } from '../lib/env.ts';
import { ConfigError, CorruptionError, InUseError } from '../lib/errors.ts';
import type { NodeId } from '../raft/types.ts';
import { clusterIdOf, formatIdentity, nodeIdOf, parseIdentity, type StoredIdentity } from './identity.ts';
import type { Member } from './member.ts';
import { MetPeers } from './met-peers.ts';

/** What all keys that hstore writes lie between. */
const ALL_KEYS = { from: Uint8Array.of(0), to: Uint8Array.of(255) };

export class DataDirectory {
  readonly path: string;
  readonly #env: Env;
  readonly #config: Config;
  /** Open: it is the lock of the directory. The owner closes it. */
  readonly store: Store;
  #stored: StoredIdentity;
  /** It is to be written when the server is let into a cluster, and not before. */
  #joining: boolean;
  #fresh = false;

  private constructor(
    env: Env,
    config: Config,
    parts: { store: Store; stored: StoredIdentity; joining: boolean },
  ) {
    this.path = config.dir;
    this.#env = env;
    this.#config = config;
    this.store = parts.store;
    this.#stored = parts.stored;
    this.#joining = parts.joining;
  }

  /**
   * Locks the directory `config.dir`, making it when missing, and finds or founds the identity in it; `config` takes over
   * what it does not say itself. Throws ConfigError when the directory is not this server's or not whole, InUseError,
   * CorruptionError, DiskFullError; then nothing is left open.
   */
  static async open(env: Env, config: Config): Promise<DataDirectory> {
    const store = await lock(env, config.dir);
    try {
      const path = `${config.dir}/identity`;
      const content = await env.disk.readFile(path);
      const joining = content === undefined && config.join !== undefined;
      const stored = content === undefined ? await found(env, config, store) : parseIdentity(content, path);
      refuseContradictions(stored, config);
      const directory = new DataDirectory(env, config, { store, stored, joining });
      if (content === undefined && !joining) await directory.#write(stored);
      if (stored.stage === 'emptying') await directory.#empty();
      if (stored.stage === 'running') await refuseLostLog(env, config);
      config.adopt({ name: stored.name, members: withGivenAddresses(stored, config) });
      if (config.forceNewCluster) await directory.#foundAnew();
      return directory;
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  get identity(): StoredIdentity {
    return this.#stored;
  }

  /** This process has begun without any data. */
  get fresh(): boolean {
    return this.#fresh;
  }

  /** It waits to be let into a cluster, and is nobody until then. */
  get joining(): boolean {
    return this.#joining;
  }

  /** The founding members with their ids; those of a server alone are itself. A server that joined knows none. */
  get founders(): readonly Member[] {
    const { origin, clusterId } = this.#stored;
    if (origin === 'joined' || this.#joining) return [];
    const founders = origin === 'alone' ? [this.#config.announced] : this.#stored.members;
    return founders.map((each) => ({ ...each, id: nodeIdOf(clusterId, each.name) }));
  }

  /** Whom this server has met, kept in the file `peers`. Throws ConfigError. */
  metPeers(): Promise<MetPeers> {
    return MetPeers.load(this.#env.disk, this.#env.log, `${this.path}/peers`);
  }

  /** There is a log from now on: without it the directory is not whole. */
  async markRunning(): Promise<void> {
    this.#fresh = this.#stored.stage === 'new';
    if (this.#stored.stage === 'new' && !this.#joining)
      await this.#write({ ...this.#stored, stage: 'running' });
  }

  async markRemoved(): Promise<void> {
    await this.#write({ ...this.#stored, stage: 'removed' });
  }

  /** Takes on the identity that a cluster gives this server. What was here, and the caller knows to be nothing, goes. */
  async becomeMember({ clusterId, nodeId }: { clusterId: string; nodeId: NodeId }): Promise<void> {
    const { name } = this.#stored;
    const members = [this.#config.announced];
    await this.#write({ clusterId, nodeId, name, origin: 'joined', stage: 'emptying', members });
    this.#joining = false;
    await this.#empty();
  }

  /** The data stay, and the server is a cluster of its own with them. */
  async #foundAnew(): Promise<void> {
    const clusterId = randomId(this.#env);
    const { name } = this.#stored;
    const stored = { clusterId, nodeId: nodeIdOf(clusterId, name), name, members: [] };
    await this.#write({ ...stored, origin: 'alone', stage: this.#stored.stage });
    this.#env.log.warning(
      'founded a new cluster with the data that are here: leave --force-new-cluster out from now on',
      {
        cluster: clusterId,
      },
    );
  }

  async #empty(): Promise<void> {
    const { disk } = this.#env;
    const directory = `${this.path}/wal`;
    for (const name of await disk.list(directory)) await disk.removeFile(`${directory}/${name}`);
    await new Promise<void>((resolve, reject) => {
      this.store.clear(ALL_KEYS, (error) => (error === null ? resolve() : reject(error)));
    });
    await this.#write({ ...this.#stored, stage: 'new' });
  }

  async #write(stored: StoredIdentity): Promise<void> {
    await this.#env.disk.replaceFile(`${this.path}/identity`, formatIdentity(stored));
    this.#stored = stored;
  }
}

async function lock(env: Env, directory: string): Promise<Store> {
  await env.disk.makeDirectory(directory);
  try {
    return await env.stores.open(`${directory}/store`);
  } catch (error) {
    if (!(error instanceof InUseError)) throw error;
    throw new InUseError(`the data directory ${directory} is in use by another process`, error);
  }
}

/** The identity of a new server. A start that a crash cut short may have left an empty store, but no more. */
async function found(env: Env, config: Config, store: Store): Promise<StoredIdentity> {
  const log = await env.disk.list(`${config.dir}/wal`);
  if (log.length > 0 || !(await isEmpty(store))) {
    throw new ConfigError(
      `the data directory ${config.dir} holds data but its file 'identity' is missing: ` +
        'put that file back, or name another directory with --dir',
    );
  }
  const members = config.isGiven('cluster') ? config.members : [];
  const clusterId = members.length > 0 ? clusterIdOf(members) : randomId(env);
  const origin = members.length > 0 ? 'founder' : 'alone';
  const nodeId = nodeIdOf(clusterId, config.id);
  return { clusterId, nodeId, name: config.id, origin, stage: 'new', members };
}

function isEmpty(store: Store): Promise<boolean> {
  return new Promise((resolve, reject) => {
    store.range({ ...ALL_KEYS, limit: 1 }, (error, entries) =>
      error === null ? resolve(entries.length === 0) : reject(error),
    );
  });
}

async function refuseLostLog(env: Env, { dir }: Config): Promise<void> {
  if ((await env.disk.list(`${dir}/wal`)).length > 0) return;
  throw new CorruptionError(
    `the data directory ${dir} has no log any more: it was removed or lost. This server must not vote again with these ` +
      'data: remove it with CLUSTER FORGET on another server, empty its directory, and start it with --join',
  );
}

function refuseContradictions(stored: StoredIdentity, config: Config): void {
  const { origin, stage, members, name } = stored;
  if (stage === 'removed') {
    throw new ConfigError(
      `the server ${name} of the data directory ${config.dir} was removed from its cluster, and its id is never used again: ` +
        'to become a member again, empty the directory and start it with --join',
    );
  }
  if (config.isGiven('cluster') && (origin !== 'founder' || !sameNames(config, stored))) {
    const whose = {
      alone: 'a server alone',
      joined: 'a server that joined a cluster',
      founder: `the cluster ${formatMembers(members)}`,
    };
    throw new ConfigError(
      `the data directory ${config.dir} belongs to ${whose[origin]}, not to the one that --cluster gives: ` +
        'leave --cluster out, or name another directory with --dir',
    );
  }
  if (config.isGiven('id') && config.id !== name) {
    throw new ConfigError(
      `the data directory ${config.dir} belongs to the server ${name}, this one is ${config.id}: ` +
        'name the right directory with --dir, or the right server with --id',
    );
  }
  if (config.join !== undefined && origin === 'alone' && stage !== 'new') {
    throw new ConfigError(
      `the data directory ${config.dir} belongs to a server alone: to join a cluster with --join, name an empty one with ` +
        '--dir; or start it without --join, and let a member of the cluster ask it in with CLUSTER MEET',
    );
  }
}

function sameNames(config: Config, { members }: StoredIdentity): boolean {
  const names = (list: readonly { name: string }[]) =>
    list
      .map(({ name }) => name)
      .sort()
      .join();
  return names(config.members) === names(members);
}

/** Servers may have moved: --cluster says where they are now. */
function withGivenAddresses({ origin, members }: StoredIdentity, config: Config): StoredIdentity['members'] {
  return origin === 'founder' && config.isGiven('cluster') ? config.members : members;
}

function randomId(env: Env): string {
  return Array.from(env.random.bytes(20), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

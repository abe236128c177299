/**
 * The data directory, and the identity that is written into it once:
 *
 *   DIR/identity    whose data these are           DIR/store/    the store (LevelDB), which holds the lock
 *                                                  DIR/wal/      the write-ahead log
 *
 * The founding members of a cluster agree on all ids without talking: the cluster's id is a hash of the list of members,
 * a server's id a hash of the cluster's id and its name. Later starts go by the file, and what flags say must not
 * contradict it: a server that votes under a name that is not its own can cost acknowledged writes. So nothing here is
 * ever overwritten, and what is damaged or foreign is refused with what to do about it.
 *
 * The file is text, for people too:
 *
 *   hstore data directory, format 1
 *   cluster-id 40 hexadecimal digits
 *   node-id    number
 *   name       n1
 *   members    n1=127.0.0.1:6379@16379,...         empty for a server alone
 *   checksum   crc32 of all lines above, in hexadecimal
 */

import type { Config } from '../config/config.ts';
import { formatMembers, type MemberAddress, parseMembers } from '../config/members.ts';
import { assert } from '../lib/assert.ts';
import { crc32 } from '../lib/checksum.ts';
import { sha1Hex, sha256 } from '../lib/digest.ts';
import type { Env, Store } from '../lib/env.ts';
import { ConfigError, InUseError } from '../lib/errors.ts';
import type { NodeId } from '../raft/types.ts';
import type { Member } from './context.ts';

const FORMAT_VERSION = 1;
const FORMAT = /^hstore data directory, format (\d{1,9})\n/;

export interface Identity {
  /** 40 hexadecimal digits. */
  readonly clusterId: string;
  readonly nodeId: NodeId;
  readonly name: string;
  /** The founding members with their ids, this server among them. */
  readonly members: readonly Member[];
}

export interface DataDirectory {
  readonly identity: Identity;
  /** Open: it is the lock of the directory. The caller closes it. */
  readonly store: Store;
}

/** What the file holds. */
interface Stored {
  readonly clusterId: string;
  readonly nodeId: NodeId;
  readonly name: string;
  /** None: a server alone. */
  readonly members: readonly MemberAddress[];
}

/**
 * Locks the directory `config.dir`, making it when missing, and finds or founds the identity in it; `config` takes over
 * what it does not say itself. Throws ConfigError when the directory is not this server's or not whole, InUseError,
 * CorruptionError, DiskFullError; then nothing is left open.
 */
export async function openDataDirectory(env: Env, config: Config): Promise<DataDirectory> {
  const store = await lock(env, config.dir);
  try {
    const path = `${config.dir}/identity`;
    const content = await env.disk.readFile(path);
    const stored = content === undefined ? await found(env, config, store) : parseIdentity(content, path);
    refuseContradictions(stored, config);
    if (content === undefined) await env.disk.replaceFile(path, formatIdentity(stored));
    config.adopt(stored);
    return { identity: identityOf(stored, config), store };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** A number in [1, 2^48) that all who know the cluster and the name find. */
export function nodeIdOf(clusterId: string, name: string): NodeId {
  for (let round = 0; ; round++) {
    const bytes = sha256(`${clusterId} ${name}${round === 0 ? '' : ` ${round}`}`);
    let id = 0;
    for (let i = 0; i < 6; i++) id = id * 256 + bytes[i]!;
    if (id !== 0) return id;
  }
}

/** The same for all members, whatever the order in which their flags list them. */
export function clusterIdOf(members: readonly MemberAddress[]): string {
  assert(members.length > 0, 'a cluster has members');
  return sha1Hex(formatMembers(members));
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
async function found(env: Env, config: Config, store: Store): Promise<Stored> {
  const log = await env.disk.list(`${config.dir}/wal`);
  if (log.length > 0 || !(await isEmpty(store))) {
    throw new ConfigError(
      `the data directory ${config.dir} holds data but its file 'identity' is missing: ` +
        'put that file back, or name another directory with --dir',
    );
  }
  const members = config.isGiven('cluster') ? config.members : [];
  const clusterId = members.length > 0 ? clusterIdOf(members) : hex(env.random.bytes(20));
  return { clusterId, nodeId: nodeIdOf(clusterId, config.id), name: config.id, members };
}

function isEmpty(store: Store): Promise<boolean> {
  // Every key that hstore writes begins with a byte between these.
  const range = { from: Uint8Array.of(0), to: Uint8Array.of(255), limit: 1 };
  return new Promise((resolve, reject) => {
    store.range(range, (error, entries) => (error === null ? resolve(entries.length === 0) : reject(error)));
  });
}

function refuseContradictions(stored: Stored, config: Config): void {
  if (config.isGiven('cluster') && formatMembers(config.members) !== formatMembers(stored.members)) {
    const whose =
      stored.members.length === 0 ? 'a server alone' : `the cluster ${formatMembers(stored.members)}`;
    throw new ConfigError(
      `the data directory ${config.dir} belongs to ${whose}, not to the one that --cluster gives: ` +
        'leave --cluster out, or name another directory with --dir',
    );
  }
  if (config.isGiven('id') && config.id !== stored.name) {
    throw new ConfigError(
      `the data directory ${config.dir} belongs to the server ${stored.name}, this one is ${config.id}: ` +
        'name the right directory with --dir, or the right server with --id',
    );
  }
}

function identityOf({ clusterId, nodeId, name }: Stored, config: Config): Identity {
  const members = config.members.map((each) => ({ ...each, id: nodeIdOf(clusterId, each.name) }));
  assert(
    members.some(({ id }) => id === nodeId),
    'a server is among its members',
    name,
  );
  assert(new Set(members.map(({ id }) => id)).size === members.length, 'ids are unique', clusterId);
  return { clusterId, nodeId, name, members };
}

function formatIdentity({ clusterId, nodeId, name, members }: Stored): Uint8Array {
  const lines = [
    `hstore data directory, format ${FORMAT_VERSION}`,
    `cluster-id ${clusterId}`,
    `node-id ${nodeId}`,
    `name ${name}`,
    `members ${formatMembers(members)}`,
  ];
  const body = new TextEncoder().encode(`${lines.join('\n')}\n`);
  const text = `${new TextDecoder().decode(body)}checksum ${hex32(crc32(body))}\n`;
  return new TextEncoder().encode(text);
}

function parseIdentity(content: Uint8Array, path: string): Stored {
  const text = new TextDecoder().decode(content);
  const version = Number(FORMAT.exec(text)?.[1] ?? 0);
  if (version > FORMAT_VERSION) {
    throw new ConfigError(
      `${path} has format ${version}, and this hstore knows formats up to ${FORMAT_VERSION}: start the newer hstore again`,
    );
  }
  const stored = version === FORMAT_VERSION ? parseBody(text) : undefined;
  if (stored === undefined) {
    throw new ConfigError(
      `${path} is damaged: put it back from a backup, or name another directory with --dir`,
    );
  }
  return stored;
}

/** Undefined unless it is, to the byte, what `formatIdentity` writes. */
function parseBody(text: string): Stored | undefined {
  const form =
    /^.*\ncluster-id ([0-9a-f]{40})\nnode-id (\d{1,15})\nname (\S+)\nmembers (\S*)\nchecksum \S+\n$/;
  const [, clusterId, nodeId, name, members] = form.exec(text) ?? [];
  if (clusterId === undefined || nodeId === undefined || name === undefined || members === undefined) {
    return undefined;
  }
  try {
    const stored = { clusterId, nodeId: Number(nodeId), name, members: parseMembers(members) };
    const whole = new TextDecoder().decode(formatIdentity(stored)) === text;
    return whole && stored.nodeId === nodeIdOf(clusterId, name) ? stored : undefined;
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function hex32(word: number): string {
  return word.toString(16).padStart(8, '0');
}

/**
 * Whose a data directory is, written into its file `identity`. The file is text, for people too:
 *
 *   hstore data directory, format 2
 *   cluster-id 40 hexadecimal digits
 *   node-id    number
 *   name       n1
 *   origin     alone | founder | joined
 *   stage      new | running | emptying | removed
 *   members    n1=127.0.0.1:6379@16379,...         founder: all founding members; else itself, as it was reached last
 *   checksum   crc32 of all lines above, in hexadecimal
 *
 * The founding members of a cluster agree on all ids without talking: the cluster's id is a hash of the list of members,
 * a server's id a hash of the cluster's id and its name. A server that joins later is given a random id by the member
 * that lets it in.
 *
 * The stage tells a start what to expect: a server that was `running` has a log, and one whose log is gone must not vote.
 * `emptying`: it was let into a cluster, and what it had before is to be removed. `removed`: it was, for good.
 */
import { formatMembers, type MemberAddress, parseMembers } from '../config/members.ts';
import { assert } from '../lib/assert.ts';
import { crc32 } from '../lib/checksum.ts';
import { sha1Hex, sha256 } from '../lib/digest.ts';
import { ConfigError } from '../lib/errors.ts';
import type { NodeId } from '../raft/types.ts';

export type Origin = 'alone' | 'founder' | 'joined';
export type Stage = 'new' | 'running' | 'emptying' | 'removed';

export interface StoredIdentity {
  /** 40 hexadecimal digits. */
  readonly clusterId: string;
  readonly nodeId: NodeId;
  readonly name: string;
  readonly origin: Origin;
  readonly stage: Stage;
  /** Of a founder: all founding members. Of others: none, or itself. */
  readonly members: readonly MemberAddress[];
}

const FORMAT_VERSION = 2;
const FORMAT = /^hstore data directory, format (\d{1,9})\n/;
const ORIGINS: readonly Origin[] = ['alone', 'founder', 'joined'];
const STAGES: readonly Stage[] = ['new', 'running', 'emptying', 'removed'];

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

export function formatIdentity({
  clusterId,
  nodeId,
  name,
  origin,
  stage,
  members,
}: StoredIdentity): Uint8Array {
  const lines = [
    `hstore data directory, format ${FORMAT_VERSION}`,
    `cluster-id ${clusterId}`,
    `node-id ${nodeId}`,
    `name ${name}`,
    `origin ${origin}`,
    `stage ${stage}`,
    `members ${formatMembers(members)}`,
  ];
  const body = new TextEncoder().encode(`${lines.join('\n')}\n`);
  const text = `${new TextDecoder().decode(body)}checksum ${hex32(crc32(body))}\n`;
  return new TextEncoder().encode(text);
}

/** Throws ConfigError. */
export function parseIdentity(content: Uint8Array, path: string): StoredIdentity {
  const text = new TextDecoder().decode(content);
  const version = Number(FORMAT.exec(text)?.[1] ?? FORMAT_VERSION);
  if (version > FORMAT_VERSION) {
    throw new ConfigError(
      `${path} has format ${version}, and this hstore knows formats up to ${FORMAT_VERSION}: start the newer hstore again`,
    );
  }
  if (version < FORMAT_VERSION) {
    throw new ConfigError(
      `${path} has format ${version}, of an earlier hstore, which this one cannot read: start that one again, or name ` +
        'another directory with --dir',
    );
  }
  const stored = parseBody(text);
  if (stored === undefined) {
    throw new ConfigError(
      `${path} is damaged: put it back from a backup, or name another directory with --dir`,
    );
  }
  return stored;
}

/** Undefined unless it is, to the byte, what `formatIdentity` writes. */
function parseBody(text: string): StoredIdentity | undefined {
  const lines = [
    String.raw`.*\ncluster-id (\w{40})\nnode-id (\d{1,15})\nname (\S+)`,
    String.raw`origin (\S+)\nstage (\S+)\nmembers (\S*)\nchecksum \S+\n`,
  ];
  const form = new RegExp(`^${lines.join('\\n')}$`);
  const [, clusterId, nodeId, name, originText, stageText, members] = form.exec(text) ?? [];
  const origin = ORIGINS.find((each) => each === originText);
  const stage = STAGES.find((each) => each === stageText);
  if (clusterId === undefined || nodeId === undefined || name === undefined || members === undefined) {
    return undefined;
  }
  if (origin === undefined || stage === undefined) return undefined;
  try {
    const stored = { clusterId, nodeId: Number(nodeId), name, origin, stage, members: parseMembers(members) };
    const whole = new TextDecoder().decode(formatIdentity(stored)) === text;
    const agrees = origin === 'joined' || stored.nodeId === nodeIdOf(clusterId, name);
    return whole && agrees ? stored : undefined;
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

function hex32(word: number): string {
  return word.toString(16).padStart(8, '0');
}

/**
 * A member of the cluster as the replicated configuration describes it: `n1=HOST:PORT@PEERPORT`, an IPv6 address in
 * brackets.
 */
import type { MemberAddress } from '../config/members.ts';
import { assert } from '../lib/assert.ts';
import type { Configuration, GroupMember, MembershipChange } from '../raft/configuration.ts';
import type { NodeId } from '../raft/types.ts';

export interface Member {
  readonly id: NodeId;
  readonly name: string;
  readonly host: string;
  /** For clients. */
  readonly port: number;
  readonly peerPort: number;
}

const FORM = /^([^=]+)=(?:\[([^\]]+)\]|([^:]+)):(\d+)@(\d+)$/;

export function describeMember({ name, host, port, peerPort }: MemberAddress): string {
  return `${name}=${host.includes(':') ? `[${host}]` : host}:${port}@${peerPort}`;
}

export function memberOf({ id, description }: Pick<GroupMember, 'id' | 'description'>): Member {
  const [, name, ipv6, host, port, peerPort] = FORM.exec(description) ?? [];
  assert(name !== undefined && peerPort !== undefined, 'a member is described in one form', description);
  return { id, name, host: ipv6 ?? host!, port: Number(port), peerPort: Number(peerPort) };
}

export function isDescription(text: string): boolean {
  return text.length <= 512 && FORM.test(text);
}

/** Whether a change, from whichever server, keeps descriptions readable and names unique, and changes nobody's name. */
export function isSound(configuration: Configuration, change: MembershipChange): boolean {
  if (change.type !== 'add' && change.type !== 'describe') return true;
  const { id, description } = change;
  if (!isDescription(description)) return false;
  const { name } = memberOf(change);
  const present = configuration.member(id);
  if (present !== undefined && memberOf(present).name !== name) return false;
  const instead = change.type === 'add' ? change.instead : undefined;
  return configuration.members.every(
    (other) => other.id === id || other.id === instead || memberOf(other).name !== name,
  );
}

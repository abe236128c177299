/**
 * The configuration of a group: its members, and who of them votes (§6 of the paper, thesis chapter 4).
 *
 * A configuration is the data of an entry of type `configuration`, whole. "A server always uses the latest configuration
 * in its log, regardless of whether the entry is committed." Voters change by joint consensus:
 *
 *   C_old  --changeMembers-->  C_old,new  --when that is committed-->  C_new
 *
 * A joint configuration decides by a majority of the old voters and a majority of the new ones, so at no point can two
 * majorities act without each other. In it each member says which side it votes on:
 *
 *   voter      in the old and in the new configuration           outgoing   only in the old one: it is being removed
 *   incoming   only in the new one: it is being promoted         learner    in neither: it gets the log and has no say
 *
 * What touches no voter (a learner comes or goes, a member has moved) is one entry, without a joint configuration.
 * A server's id is never used again: the ids of those who were removed stay in the configuration.
 *
 *   format u8 | members u32 | members x (id u64 | role u8 | description text) | removed u32 | removed x id u64
 */
import { assert } from '../lib/assert.ts';
import { ByteReader, ByteWriter, MalformedError } from '../lib/bytes.ts';
import { Quorum } from './quorum.ts';
import type { NodeId } from './types.ts';

export type MemberRole = 'voter' | 'learner' | 'incoming' | 'outgoing';

export interface GroupMember {
  readonly id: NodeId;
  readonly role: MemberRole;
  /** Name and addresses, in the form of the server around Raft; nothing to Raft itself. */
  readonly description: string;
}

export type MembershipChange =
  /** A newcomer, as a learner. `instead` is removed in the same step: a learner that was given up. */
  | {
      readonly type: 'add';
      readonly id: NodeId;
      readonly description: string;
      readonly instead?: NodeId | undefined;
    }
  | { readonly type: 'promote'; readonly id: NodeId }
  | { readonly type: 'remove'; readonly id: NodeId }
  | { readonly type: 'describe'; readonly id: NodeId; readonly description: string };

/** Why a change makes no sense for a configuration. */
export type ChangeRefusal = 'unknown' | 'already' | 'removed' | 'lastVoter' | 'unchanged' | 'tooMany';

const FORMAT = 1;
const ROLES: readonly MemberRole[] = ['voter', 'learner', 'incoming', 'outgoing'];
/** Of a group: every change carries all of them. */
export const MEMBERS_MAX = 64;
/** The oldest are forgotten. A server that has been away for so many removals meets links that do not know it. */
const REMOVED_MAX = 1000;

export class Configuration {
  readonly members: readonly GroupMember[];
  readonly removed: readonly NodeId[];
  /** All who vote, on either side. */
  readonly voters: readonly NodeId[];
  /** One, or two while it is joint; none when there is no voter. */
  readonly #quorums: readonly Quorum[];

  constructor(members: readonly GroupMember[], removed: readonly NodeId[] = []) {
    const ids = members.map(({ id }) => id);
    assert(new Set(ids).size === ids.length, 'a member is named once', ids.join(' '));
    this.members = members;
    this.removed = removed;
    const having = (...roles: MemberRole[]) =>
      members.filter(({ role }) => roles.includes(role)).map(({ id }) => id);
    this.voters = having('voter', 'incoming', 'outgoing');
    const sides = this.joint ? [having('voter', 'outgoing'), having('voter', 'incoming')] : [this.voters];
    this.#quorums = sides.filter((side) => side.length > 0).map((side) => new Quorum(side));
  }

  /** The first configuration of a group: all vote. */
  static founding(members: readonly Omit<GroupMember, 'role'>[]): Configuration {
    return new Configuration(members.map((member) => ({ ...member, role: 'voter' })));
  }

  get joint(): boolean {
    return this.members.some(({ role }) => role === 'incoming' || role === 'outgoing');
  }

  /** Of the members who stay. */
  get learners(): readonly NodeId[] {
    return this.members.filter(({ role }) => role === 'learner').map(({ id }) => id);
  }

  member(id: NodeId): GroupMember | undefined {
    return this.members.find((member) => member.id === id);
  }

  isVoter(id: NodeId): boolean {
    return this.voters.includes(id);
  }

  /** Whether it votes in the configuration to come too: whoever does not must not be made leader. */
  staysVoter(id: NodeId): boolean {
    const role = this.member(id)?.role;
    return role === 'voter' || role === 'incoming';
  }

  /** All members but this one, learners included. */
  others(than: NodeId): NodeId[] {
    return this.members.filter(({ id }) => id !== than).map(({ id }) => id);
  }

  /** Whether a majority of each side is so. */
  hasMajority(isSo: (voter: NodeId) => boolean): boolean {
    return this.#quorums.length > 0 && this.#quorums.every((quorum) => quorum.hasMajority(isSo));
  }

  /** The largest number that a majority of each side has reached. */
  reachedByMajority(reached: (voter: NodeId) => number): number {
    if (this.#quorums.length === 0) return 0;
    return Math.min(...this.#quorums.map((quorum) => quorum.reachedByMajority(reached)));
  }

  /** The configuration that the change leads to, joint if voters change. */
  after(change: MembershipChange): Configuration | ChangeRefusal {
    assert(!this.joint, 'one change at a time');
    const present = this.member(change.id);
    if (change.type === 'add') return present === undefined ? this.#withNewcomer(change) : 'already';
    if (present === undefined) return 'unknown';
    switch (change.type) {
      case 'promote':
        return present.role === 'learner' ? this.#with({ ...present, role: 'incoming' }) : 'already';
      case 'describe': {
        const { description } = change;
        return description === present.description ? 'unchanged' : this.#with({ ...present, description });
      }
      case 'remove':
        if (present.role === 'learner') return this.#without([present.id]);
        return this.voters.length === 1 ? 'lastVoter' : this.#with({ ...present, role: 'outgoing' });
    }
  }

  /** C_new of this C_old,new. */
  afterJoint(): Configuration {
    assert(this.joint, 'a joint configuration is left');
    const gone = this.members.filter(({ role }) => role === 'outgoing').map(({ id }) => id);
    const { members, removed } = this.#without(gone);
    const settled = members.map(
      (member): GroupMember => (member.role === 'incoming' ? { ...member, role: 'voter' } : member),
    );
    return new Configuration(settled, removed);
  }

  #withNewcomer(change: MembershipChange & { type: 'add' }): Configuration | ChangeRefusal {
    if (this.removed.includes(change.id)) return 'removed';
    if (this.members.length >= MEMBERS_MAX) return 'tooMany';
    const { id, description, instead } = change;
    if (instead !== undefined && this.member(instead)?.role !== 'learner') return 'unknown';
    const rest = instead === undefined ? this : this.#without([instead]);
    return new Configuration([...rest.members, { id, role: 'learner', description }], rest.removed);
  }

  #with(changed: GroupMember): Configuration {
    const members = this.members.map((member) => (member.id === changed.id ? changed : member));
    return new Configuration(members, this.removed);
  }

  #without(gone: readonly NodeId[]): Configuration {
    return new Configuration(
      this.members.filter(({ id }) => !gone.includes(id)),
      [...this.removed, ...gone].slice(-REMOVED_MAX),
    );
  }
}

/** Of a server that has yet to learn to whom it belongs. */
export const NO_CONFIGURATION = new Configuration([]);

export function encodeConfiguration({ members, removed }: Configuration): Uint8Array {
  const out = new ByteWriter(64 * (members.length + 1));
  out.u8(FORMAT);
  out.u32(members.length);
  for (const { id, role, description } of members) {
    out.u64(id);
    out.u8(ROLES.indexOf(role));
    out.text(description);
  }
  out.u32(removed.length);
  for (const id of removed) out.u64(id);
  return out.copy();
}

/** Throws MalformedError. */
export function decodeConfiguration(bytes: Uint8Array): Configuration {
  const reader = new ByteReader(bytes);
  const format = reader.u8();
  if (format !== FORMAT) throw new MalformedError(`a configuration of unknown format ${format}`);
  const members = times(reader.u32(), MEMBERS_MAX, (): GroupMember => {
    const id = reader.u64();
    const role = ROLES[reader.u8()];
    if (role === undefined) throw new MalformedError(`member ${id} has no known role`);
    return { id, role, description: reader.text() };
  });
  const removed = times(reader.u32(), REMOVED_MAX, () => reader.u64());
  if (reader.remaining > 0) throw new MalformedError(`${reader.remaining} bytes too many in a configuration`);
  if (new Set(members.map(({ id }) => id)).size < members.length) {
    throw new MalformedError('a configuration that names a member twice');
  }
  return new Configuration(members, removed);
}

function times<T>(count: number, countMax: number, read: () => T): T[] {
  if (count > countMax) throw new MalformedError(`${count} in a configuration, at most ${countMax} can be`);
  return Array.from({ length: count }, read);
}

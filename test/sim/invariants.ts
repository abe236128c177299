/**
 * What must hold in every state of every cluster, checked after every event. The first six are figure 3 of the paper
 * and its proofs; the rest is what a server must never do. Those of the members are in configuration-invariants.ts.
 */

import type { KvStateMachine } from '../../src/kv/state-machine.ts';
import { assert } from '../../src/lib/assert.ts';
import { crc32 } from '../../src/lib/checksum.ts';
import { type Configuration, NO_CONFIGURATION } from '../../src/raft/configuration.ts';
import type { NodeId } from '../../src/raft/types.ts';
import type { PeerMessage } from '../../src/server/peer-message.ts';
import type { Cluster, SimServer } from './cluster.ts';
import { ConfigurationInvariants } from './configuration-invariants.ts';
import type { Life } from './scheduler.ts';

interface Seen {
  life: Life | undefined;
  stateMachine: KvStateMachine | undefined;
  configuration: Configuration;
  /** Since when it leads although it knows that it was removed. */
  removedSinceMs: number | undefined;
  term: number;
  commitIndex: number;
  appliedIndex: number;
  lastIndex: number;
  lastTerm: number;
}

const STEPS_DOWN_WITHIN_MS = 50;

export class Invariants {
  /** Highest index that any server considered committed, and the term of each entry up to there. */
  readonly committedTerms: number[] = [0];
  readonly #cluster: Cluster;
  readonly #leaders = new Map<number, NodeId>();
  readonly #votes = new Map<string, NodeId>();
  /** By index and term: the checksum of what the entry holds, and the term of the one before. */
  readonly #entries = new Map<string, string>();
  readonly #hashes = new Map<number, string>();
  readonly #seen = new WeakMap<SimServer, Seen>();
  readonly configurations: ConfigurationInvariants;
  /** States that began with a snapshot; and those of them, and of restarts, that no other could be compared with. */
  readonly counts = { installs: 0, compared: 0, incomparable: 0 };

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.configurations = new ConfigurationInvariants(cluster);
  }

  /** "A server votes for at most one candidate in a term" (§5.2), whatever happens to it in between. */
  onSend(from: NodeId, m: PeerMessage): void {
    if (m.kind !== 'raft' || m.message.type !== 'RequestVoteResponse' || !m.message.voteGranted) return;
    const { to, term } = m.message;
    const vote = `${from} in term ${term}`;
    const before = this.#votes.get(vote);
    assert(before === undefined || before === to, 'a server votes once in a term (§5.2)', vote, before, to);
    this.#votes.set(vote, to);
  }

  check(): void {
    for (const server of this.#cluster.servers) {
      if (server.replica === undefined) continue;
      let seen = this.#seen.get(server);
      if (seen?.life !== server.life) {
        seen = unseen(server.life);
        this.#seen.set(server, seen);
      }
      this.#checkServer(server, seen!);
    }
  }

  #checkServer(server: SimServer, seen: Seen): void {
    const { raft, stateMachine } = server.replica!;
    const { log } = raft;
    if (stateMachine !== seen.stateMachine) this.#checkNewState(server, seen.stateMachine !== undefined);
    seen.stateMachine = stateMachine;
    if (raft.role === 'leader' && (raft.term !== seen.term || this.#leaders.get(raft.term) !== server.id)) {
      this.#checkLeader(server);
    }
    assert(raft.term >= seen.term, 'terms never go back', server.id, raft.term, seen.term);
    seen.term = raft.term;
    const grew = log.lastIndex !== seen.lastIndex || log.lastTerm !== seen.lastTerm;
    if (grew) this.#checkTail(server);
    seen.lastIndex = log.lastIndex;
    seen.lastTerm = log.lastTerm;
    assert(
      log.commitIndex >= seen.commitIndex,
      'the commit index never goes back',
      server.id,
      log.commitIndex,
    );
    if (log.commitIndex > seen.commitIndex) this.#checkCommitted(server, seen.commitIndex);
    if (raft.role === 'leader') {
      if (log.commitIndex > seen.commitIndex) {
        this.configurations.checkCounted(server, log.commitIndex, seen.configuration);
      }
      if (grew) this.configurations.checkPending(server, this.committedTerms.length - 1);
    }
    this.#checkRemoved(server, seen);
    seen.commitIndex = log.commitIndex;
    seen.configuration = raft.configuration;
    const { appliedIndex } = stateMachine;
    assert(appliedIndex >= seen.appliedIndex, 'applied never goes back', server.id, appliedIndex);
    assert(appliedIndex <= log.stableIndex, 'what is applied is on the disk', server.id, appliedIndex);
    if (appliedIndex > seen.appliedIndex && stateMachine.atRest) this.#checkState(server);
    seen.appliedIndex = appliedIndex;
  }

  /** "The leader steps down once it has committed the C_new log entry" (§6): in its next turn, that is. */
  #checkRemoved(server: SimServer, seen: Seen): void {
    const { raft } = server.replica!;
    const { index, configuration } = raft.log.configuration;
    const isRemoved =
      raft.role === 'leader' && index <= raft.log.commitIndex && !configuration.isVoter(server.id);
    const { nowMs } = this.#cluster.scheduler;
    if (!isRemoved || server.life!.paused) seen.removedSinceMs = undefined;
    else seen.removedSinceMs ??= nowMs;
    assert(
      nowMs - (seen.removedSinceMs ?? nowMs) <= STEPS_DOWN_WITHIN_MS,
      'who was removed leads no more (§6)',
      server.id,
    );
  }

  /** "At most one leader can be elected in a given term" (Election Safety) and Leader Completeness. */
  #checkLeader(server: SimServer): void {
    const { term, log } = server.replica!.raft;
    const before = this.#leaders.get(term);
    assert(
      before === undefined || before === server.id,
      'a term has one leader (§5.2)',
      term,
      before,
      server.id,
    );
    this.#leaders.set(term, server.id);
    const hasVoted = (voter: NodeId) =>
      voter === server.id || this.#votes.get(`${voter} in term ${term}`) === server.id;
    this.configurations.elected(server, hasVoted);
    for (let index = log.compactedIndex; index < this.committedTerms.length; index++) {
      // Of a later term: it was held up when it had its votes, and another has led since.
      if (this.committedTerms[index]! > term) continue;
      const held = log.termAt(index);
      // Entries committed in this very term are the leader's own.
      assert(
        held === this.committedTerms[index],
        'a leader holds every committed entry (§5.4)',
        `leader ${server.id} of term ${term}, index ${index}`,
        `holds term ${held}, committed is ${this.committedTerms[index]}`,
      );
    }
  }

  /** "If two logs contain an entry with the same index and term, the logs are identical up to it" (Log Matching). */
  #checkTail(server: SimServer): void {
    const { log } = server.replica!.raft;
    if (log.commitIndex === log.lastIndex) return;
    for (const entry of log.slice(log.commitIndex + 1, Number.MAX_SAFE_INTEGER) ?? []) {
      const name = `${entry.index}@${entry.term}`;
      const content = `${crc32(entry.data)} after ${log.termAt(entry.index - 1)}`;
      const before = this.#entries.get(name);
      assert(before === undefined || before === content, 'logs match (§5.3)', name, before, content);
      this.#entries.set(name, content);
    }
  }

  /** "No two servers apply a different entry for the same index" (State Machine Safety). */
  #checkCommitted(server: SimServer, before: number): void {
    const { log } = server.replica!.raft;
    for (let index = Math.max(before, log.compactedIndex) + 1; index <= log.commitIndex; index++) {
      const term = log.termAt(index)!;
      const known = this.committedTerms[index];
      assert(
        known === undefined || known === term,
        'what is committed stays so (§5.4)',
        server.id,
        index,
        term,
      );
      this.committedTerms[index] = term;
    }
    const from = Math.max(before, log.compactedIndex) + 1;
    if (from > log.commitIndex) return;
    for (const entry of log.slice(from, Number.MAX_SAFE_INTEGER, log.commitIndex) ?? []) {
      this.configurations.committed(entry);
    }
  }

  /** After a restart, or when a snapshot has taken the place of the state: it is the one that somebody had at its index. */
  #checkNewState(server: SimServer, installed: boolean): void {
    const { stateMachine, configuration } = server.replica!;
    this.configurations.applied(configuration);
    const { appliedIndex } = stateMachine;
    if (installed) this.counts.installs++;
    if (appliedIndex === 0) return;
    const known = this.#hashes.get(appliedIndex);
    if (known === undefined) this.counts.incomparable++;
    else this.counts.compared++;
    this.#checkState(server);
  }

  #checkState(server: SimServer): void {
    const { stateMachine } = server.replica!;
    const hash = stateMachine.stateHash();
    const known = this.#hashes.get(stateMachine.appliedIndex);
    assert(
      known === undefined || known === hash,
      'states are equal at equal index',
      server.id,
      stateMachine.appliedIndex,
    );
    this.#hashes.set(stateMachine.appliedIndex, hash);
  }
}

function unseen(life: Life | undefined): Seen {
  const zero = { term: 0, commitIndex: 0, appliedIndex: 0, lastIndex: 0, lastTerm: 0 };
  return {
    life,
    stateMachine: undefined,
    configuration: NO_CONFIGURATION,
    removedSinceMs: undefined,
    ...zero,
  };
}

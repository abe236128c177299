/**
 * The follower's side of replication (§5.3): what a message of the leader does to the log, and what is answered.
 */
import { CorruptionError } from '../lib/errors.ts';
import type { RaftLog } from './log.ts';
import type { AppendEntries, AppendEntriesResponse, Heartbeat } from './messages.ts';

export type AppendEntriesAnswer = Pick<
  AppendEntriesResponse,
  'success' | 'prevLogIndex' | 'matchIndex' | 'conflictIndex' | 'conflictTerm'
>;

/** "Reply false if term < currentTerm" (figure 2): the term of the answer says it all. */
export const REFUSED_OLD_TERM: AppendEntriesAnswer = refusal(0, { index: 0, term: 0 });

/** Takes the entries in, or tells where the logs can agree at the latest. */
export function takeEntries(log: RaftLog, m: AppendEntries): AppendEntriesAnswer {
  const { prevLogIndex, prevLogTerm, entries, leaderCommit } = m;
  // What is committed here is in every leader's log: there is nothing to compare, and it may be compacted.
  const known = prevLogIndex < log.commitIndex;
  if (!known && !log.matches(prevLogIndex, prevLogTerm)) {
    return refusal(prevLogIndex, log.findConflictByTerm(prevLogIndex, prevLogTerm));
  }
  log.merge(known ? entries.filter((entry) => entry.index > log.commitIndex) : entries);
  const lastNewIndex = prevLogIndex + entries.length;
  // "commitIndex = min(leaderCommit, index of last new entry)": what lies behind it here may not be the leader's.
  log.commitTo(Math.min(leaderCommit, lastNewIndex));
  return { success: true, prevLogIndex, matchIndex: lastNewIndex, conflictIndex: 0, conflictTerm: 0 };
}

function refusal(prevLogIndex: number, agree: { index: number; term: number }): AppendEntriesAnswer {
  const { index: conflictIndex, term: conflictTerm } = agree;
  return { success: false, prevLogIndex, matchIndex: 0, conflictIndex, conflictTerm };
}

/** Throws CorruptionError when the leader was told of entries by this server that are not there. */
export function takeCommit(log: RaftLog, m: Heartbeat): void {
  // What all members of another configuration have says nothing about this server.
  const allMatchedIndex = m.configurationIndex === log.configuration.index ? m.allMatchedIndex : 0;
  const acknowledged = Math.max(m.leaderCommit, allMatchedIndex);
  if (acknowledged > log.lastIndex) {
    throw new CorruptionError(
      `the log ends at ${log.lastIndex}, but this server acknowledged entries up to ${acknowledged}: ` +
        'its data were lost or replaced by older ones. It must not vote again under this identity',
    );
  }
  log.commitTo(m.leaderCommit);
}

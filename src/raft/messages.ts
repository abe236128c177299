/**
 * What servers say to each other in Raft, as plain values. `wire.ts` turns them into bytes.
 *
 * RequestVote, AppendEntries and their fields are figure 2 of the paper. PreVote and TimeoutNow are from the thesis
 * (9.6, 3.10). Heartbeats are messages of their own, not empty AppendEntries, so that they can travel on a connection
 * where no bulk delays them; they also carry the commit index and the round of ReadIndex (thesis 6.4).
 */
import type { Entry, GroupId, NodeId } from './types.ts';

interface Envelope {
  readonly group: GroupId;
  readonly from: NodeId;
  readonly to: NodeId;
  /** The sender's current term; in PreVote and a granted PreVoteResponse, the term that the election would have. */
  readonly term: number;
}

/** "Would you vote for me?" Changes nothing at the receiver, so a server that cannot win disturbs nobody. (thesis 9.6) */
export interface PreVote extends Envelope {
  readonly type: 'PreVote';
  readonly lastLogIndex: number;
  readonly lastLogTerm: number;
}

export interface PreVoteResponse extends Envelope {
  readonly type: 'PreVoteResponse';
  readonly voteGranted: boolean;
}

export interface RequestVote extends Envelope {
  readonly type: 'RequestVote';
  readonly lastLogIndex: number;
  readonly lastLogTerm: number;
  /** The leader itself asked for this election: a vote may be given although a leader was heard just now. (thesis 4.2.3) */
  readonly leadershipTransfer: boolean;
}

export interface RequestVoteResponse extends Envelope {
  readonly type: 'RequestVoteResponse';
  readonly voteGranted: boolean;
}

export interface AppendEntries extends Envelope {
  readonly type: 'AppendEntries';
  readonly prevLogIndex: number;
  readonly prevLogTerm: number;
  readonly entries: readonly Entry[];
  readonly leaderCommit: number;
}

export interface AppendEntriesResponse extends Envelope {
  readonly type: 'AppendEntriesResponse';
  readonly success: boolean;
  /** The prevLogIndex of the request that this answers: what tells a late answer from a current one. */
  readonly prevLogIndex: number;
  /** With success: the sender's log equals the leader's up to here, and that is on its disk. 0 otherwise. */
  readonly matchIndex: number;
  /**
   * Without success: where the logs can agree at the latest, by what the follower knows: the last entry at or before
   * prevLogIndex whose term is not above prevLogTerm. (the fast backup of section 5.3, by term on both sides)
   */
  readonly conflictIndex: number;
  readonly conflictTerm: number;
}

export interface Heartbeat extends Envelope {
  readonly type: 'Heartbeat';
  /** Never above what this follower has acknowledged, so it can be taken without looking at the log. */
  readonly leaderCommit: number;
  readonly readRound: number;
  /** The entry of the sender's configuration. */
  readonly configurationIndex: number;
  /** Every member of that configuration has every entry up to here on its disk: nobody will ask for them again. */
  readonly allMatchedIndex: number;
}

export interface HeartbeatResponse extends Envelope {
  readonly type: 'HeartbeatResponse';
  readonly readRound: number;
}

/** A follower asks for an index to read at. (thesis 6.4) */
export interface ReadIndex extends Envelope {
  readonly type: 'ReadIndex';
  /** Chosen by the asker, never used by it again. */
  readonly context: number;
}

export interface ReadIndexResponse extends Envelope {
  readonly type: 'ReadIndexResponse';
  readonly context: number;
  readonly index: number;
}

/** "Hand leadership over to me." */
export interface TransferLeadership extends Envelope {
  readonly type: 'TransferLeadership';
}

/** "Start an election at once": the last step of a leadership transfer. (thesis 3.10) */
export interface TimeoutNow extends Envelope {
  readonly type: 'TimeoutNow';
}

export type Message =
  | PreVote
  | PreVoteResponse
  | RequestVote
  | RequestVoteResponse
  | AppendEntries
  | AppendEntriesResponse
  | Heartbeat
  | HeartbeatResponse
  | ReadIndex
  | ReadIndexResponse
  | TransferLeadership
  | TimeoutNow;

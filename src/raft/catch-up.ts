/**
 * Whether a learner has caught up, so that as a voter it would hold nobody up (thesis 4.2.1): "the replication of entries
 * to the new server is split into rounds. Each round replicates all the log entries present in the leader's log at the
 * start of the round. If the last round lasts less than an election timeout, then the leader adds the new server."
 */
export class CatchUp {
  #targetIndex: number;
  #beganMs: number;

  constructor(lastIndex: number, nowMs: number) {
    this.#targetIndex = lastIndex;
    this.#beganMs = nowMs;
  }

  /** Whether a round that took less than `roundMsMax` is over; a slower one is followed by the next. */
  hasCaughtUp(at: { matchIndex: number; lastIndex: number; nowMs: number }, roundMsMax: number): boolean {
    if (at.matchIndex < this.#targetIndex) return false;
    if (at.nowMs - this.#beganMs < roundMsMax) return true;
    this.#targetIndex = at.lastIndex;
    this.#beganMs = at.nowMs;
    return false;
  }
}

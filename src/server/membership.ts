/**
 * The members and the leader of this server's group, as they are changed from here: what clients ask for at this server,
 * and, on the leader, what the other servers ask for.
 */
import type { Clock, Random } from '../lib/env.ts';
import type { Configuration, MembershipChange } from '../raft/configuration.ts';
import type { RaftHost } from '../raft/host.ts';
import type { Raft } from '../raft/raft.ts';
import type { ChangeProposed } from '../raft/ready.ts';
import type { NodeId } from '../raft/types.ts';
import { type ChangeOutcome, MembershipRequests } from './membership-requests.ts';
import type { PeerTransport } from './peer-message.ts';
import { Takeover } from './takeover.ts';

export interface MembershipOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly timeoutMs: number;
  readonly raft: Raft;
  readonly host: RaftHost;
  readonly transport: PeerTransport;
  /** As it is applied here. */
  readonly configuration: () => Configuration;
  readonly isSound: (configuration: Configuration, change: MembershipChange) => boolean;
}

/** The leader tries for one election timeout to hand over; the election that follows may need a second. */
const TAKEOVER_TIMEOUTS = 2;

export class Membership {
  readonly #options: MembershipOptions;
  readonly #requests: MembershipRequests;
  readonly #takeover: Takeover;

  constructor(options: MembershipOptions) {
    this.#options = options;
    const { clock, random, timeoutMs, raft, transport, configuration } = options;
    const { group, id, limits } = raft;
    this.#takeover = new Takeover(clock, TAKEOVER_TIMEOUTS * limits.electionTimeoutMs);
    this.#requests = new MembershipRequests({
      ...{ clock, random, timeoutMs, id, configuration },
      leaderId: () => raft.leaderId,
      propose: (change) => this.#propose(change),
      ask: (leader, request, change) => {
        transport.send(leader, [{ kind: 'change', group, request, change }]);
      },
    });
  }

  get idle(): boolean {
    return this.#requests.idle;
  }

  /** Calls `done` when the change has been applied here, or with why it was not begun, or will not be known. */
  change(change: MembershipChange, done: (outcome: ChangeOutcome) => void): void {
    this.#requests.submit(change, done);
  }

  /** Asks the leader for leadership, or by force the voters; `done`: whether this server, a voter, leads now. */
  takeOver(how: 'asked' | 'forced', done: (leads: boolean) => void): void {
    const { host, raft } = this.#options;
    this.#takeover.wait(done);
    if (how === 'asked') host.requestLeadership(raft.group);
    else host.forceElection(raft.group);
  }

  /** A peer asks this server, as the leader. */
  asked(from: NodeId, request: number, change: MembershipChange): void {
    const proposed = this.#propose(change);
    if (proposed.accepted) return;
    const { transport, raft } = this.#options;
    const { reason } = proposed;
    transport.send(from, [{ kind: 'noChange', group: raft.group, request, reason }]);
  }

  #propose(change: MembershipChange): ChangeProposed {
    const { isSound, raft, host } = this.#options;
    if (!isSound(raft.configuration, change)) return { accepted: false, reason: 'already' };
    return host.changeMembers(raft.group, change);
  }

  /** The leader answers a request of this server: it does not begin the change. */
  refused(...refusal: Parameters<MembershipRequests['refused']>): void {
    this.#requests.refused(...refusal);
  }

  configurationApplied(): void {
    this.#requests.applied();
  }

  leaderChanged(): void {
    if (this.#options.raft.role === 'leader') this.#takeover.settle(true);
  }

  tick(): void {
    this.#requests.tick();
  }

  stop(): void {
    this.#takeover.settle(false);
  }
}

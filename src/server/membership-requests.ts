/**
 * Changes of the members that were asked for at this server, whoever leads.
 *
 * A request goes to the leader, which begins the change or says why not. What becomes of it then, the asker sees in the
 * log like everybody else: the request is settled when the configuration that it wanted has been applied here. So no
 * answer can be lost but the refusal, and a request that is not settled by its deadline has an unknown outcome, unless it
 * never left.
 */

import type { Clock, Random } from '../lib/env.ts';
import type { Configuration, MembershipChange } from '../raft/configuration.ts';
import type { ChangeProposed, NoChangeReason } from '../raft/ready.ts';
import { NOBODY, type NodeId } from '../raft/types.ts';

/** `no-majority`: it may have happened, or may yet. `no-leader`: it has not. */
export type ChangeOutcome = 'done' | 'no-leader' | 'no-majority' | NoChangeReason;

export interface MembershipRequestsOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly timeoutMs: number;
  readonly id: NodeId;
  readonly leaderId: () => NodeId;
  /** As it is applied here. */
  readonly configuration: () => Configuration;
  readonly propose: (change: MembershipChange) => ChangeProposed;
  readonly ask: (leader: NodeId, request: number, change: MembershipChange) => void;
}

interface Request {
  readonly change: MembershipChange;
  readonly done: (outcome: ChangeOutcome) => void;
  readonly deadlineMs: number;
  /** It has left for this leader. */
  askedOf: NodeId;
  /** It may have been begun. */
  left: boolean;
  askAgainMs: number;
}

/** A leader that has just been elected, or hands over, is asked again. */
const ASK_AGAIN_MS = 100;
const PASSING: readonly NoChangeReason[] = ['not-leader', 'not-ready', 'transferring'];
const REQUESTS_MAX = 64;

export class MembershipRequests {
  readonly #options: MembershipRequestsOptions;
  readonly #requests = new Map<number, Request>();
  #nextRequest: number;

  constructor(options: MembershipRequestsOptions) {
    this.#options = options;
    // From a random place on: an answer to an earlier life of this server finds nobody.
    this.#nextRequest = options.random.below(2 ** 40) + 1;
  }

  get idle(): boolean {
    return this.#requests.size === 0;
  }

  submit(change: MembershipChange, done: (outcome: ChangeOutcome) => void): void {
    if (this.#requests.size >= REQUESTS_MAX) return done('pending');
    const nowMs = this.#options.clock.monotonicMs();
    const request: Request = {
      ...{ change, done, deadlineMs: nowMs + this.#options.timeoutMs },
      ...{ askedOf: NOBODY, left: false, askAgainMs: nowMs },
    };
    const number = this.#nextRequest++;
    this.#requests.set(number, request);
    this.#ask(number, request);
  }

  /** The leader has said that it does not begin the change. */
  refused(number: number, reason: NoChangeReason): void {
    const request = this.#requests.get(number);
    if (request === undefined) return;
    if (PASSING.includes(reason)) {
      request.askedOf = NOBODY;
      request.left = false;
      request.askAgainMs = this.#options.clock.monotonicMs() + ASK_AGAIN_MS;
      return;
    }
    this.#settle(number, reason);
  }

  /** Another configuration has been applied here. */
  applied(): void {
    const configuration = this.#options.configuration();
    if (configuration.joint) return;
    for (const [number, { change, left }] of [...this.#requests]) {
      if (left && isDone(configuration, change)) this.#settle(number, 'done');
    }
  }

  tick(): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const [number, request] of [...this.#requests]) {
      if (nowMs >= request.deadlineMs) this.#settle(number, request.left ? 'no-majority' : 'no-leader');
      else if (request.askedOf === NOBODY && nowMs >= request.askAgainMs) this.#ask(number, request);
    }
  }

  #ask(number: number, request: Request): void {
    const { leaderId, id, propose, ask } = this.#options;
    const leader = leaderId();
    if (leader === NOBODY) return;
    request.askedOf = leader;
    request.left = true;
    if (leader !== id) return ask(leader, number, request.change);
    const proposed = propose(request.change);
    if (!proposed.accepted) this.refused(number, proposed.reason);
  }

  #settle(number: number, outcome: ChangeOutcome): void {
    const request = this.#requests.get(number)!;
    this.#requests.delete(number);
    request.done(outcome);
  }
}

/** Whether the configuration is as the change wanted it. */
function isDone(configuration: Configuration, change: MembershipChange): boolean {
  const member = configuration.member(change.id);
  switch (change.type) {
    case 'add':
      return member !== undefined;
    case 'promote':
      return member?.role === 'voter';
    case 'remove':
      return member === undefined;
    case 'describe':
      return member?.description === change.description;
  }
}

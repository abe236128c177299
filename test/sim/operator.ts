/**
 * An operator of a simulated cluster for named tests: asks for changes of the members and for writes, and waits for what
 * comes of them.
 */
import { expect } from 'vitest';
import type { MembershipChange } from '../../src/raft/configuration.ts';
import type { Reply } from '../../src/resp/reply.ts';
import type { ChangeOutcome } from '../../src/server/membership-requests.ts';
import { call } from './calls.ts';
import { Cluster, type ClusterOptions, type SimServer } from './cluster.ts';
import { Invariants } from './invariants.ts';

const ANSWERED_WITHIN_MS = 10_000;

export class Operator {
  readonly cluster: Cluster;
  readonly invariants: Invariants;
  #written = 0;

  constructor(options: ClusterOptions) {
    this.cluster = new Cluster(options);
    this.invariants = new Invariants(this.cluster);
    this.cluster.onSend = (from, _to, message) => this.invariants.onSend(from, message);
    this.cluster.scheduler.afterEvent = () => {
      this.invariants.check();
      for (const { fatal } of this.cluster.servers) if (fatal !== undefined) throw fatal;
    };
    this.cluster.startAll();
  }

  async leader(): Promise<SimServer> {
    const leads = () => this.cluster.leader()?.replica?.raft.leader?.commitIsCurrent === true;
    expect(await this.cluster.until(leads, 20_000), 'there is a leader').toBe(true);
    return this.cluster.leader()!;
  }

  async follower(): Promise<SimServer> {
    const leader = await this.leader();
    return this.cluster.servers.find((server) => server !== leader)!;
  }

  change(change: MembershipChange, through: SimServer): { outcome: ChangeOutcome | undefined } {
    const result: { outcome: ChangeOutcome | undefined } = { outcome: undefined };
    through.replica!.changeMembers(change, (outcome) => {
      result.outcome = outcome;
    });
    return result;
  }

  /** Asks through the leader, until it is done. */
  async changed(change: MembershipChange): Promise<void> {
    const asked = this.change(change, await this.leader());
    await this.cluster.until(() => asked.outcome !== undefined, ANSWERED_WITHIN_MS);
    expect(asked.outcome).toBe('done');
  }

  /** A new server, which is a voter when this returns. */
  async letIn(): Promise<SimServer> {
    const newcomer = this.cluster.newcomer();
    newcomer.start();
    await this.changed({ type: 'add', id: newcomer.id, description: `n${newcomer.id}` });
    const votes = () => newcomer.replica?.configuration.configuration.isVoter(newcomer.id) === true;
    expect(await this.cluster.until(votes, 30_000), 'the newcomer is promoted').toBe(true);
    return newcomer;
  }

  async ask(server: SimServer, argv: readonly string[]): Promise<Reply | undefined> {
    let answer: { reply: Reply | undefined } | undefined;
    call(this.cluster, server, { kind: 'command', argv }, (reply) => {
      answer = { reply };
    });
    await this.cluster.until(() => answer !== undefined, ANSWERED_WITHIN_MS);
    return answer?.reply;
  }

  /** Writes so many keys of so many bytes, one after the other. */
  async write(count: number, bytes = 100): Promise<void> {
    for (let i = 0; i < count; i++) {
      const key = `key${this.#written++}`;
      expect(await this.ask(await this.leader(), ['SET', key, key.padEnd(bytes, '.')])).toBe('OK');
    }
  }

  /** Every server has all keys that were written. */
  async expectAllThere(bytes = 100): Promise<void> {
    for (const server of this.cluster.servers) {
      for (let i = 0; i < this.#written; i++) {
        const key = `key${i}`;
        const reply = await this.ask(server, ['GET', key]);
        expect(Buffer.from(reply as Uint8Array).toString()).toBe(key.padEnd(bytes, '.'));
      }
    }
  }
}

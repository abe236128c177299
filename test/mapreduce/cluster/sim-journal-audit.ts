/**
 * Reads the journal of a job just before the job is forgotten, and checks what it tells: that each task counts once, unless
 * its output was lost or all began anew, and no attempt counts for two.
 */
import { assert } from '../../../src/lib/assert.ts';
import { latin1 } from '../../../src/lib/bytes.ts';
import { decodeFacts, type Fact, journalKey } from '../../../src/mapreduce/cluster/records.ts';
import type { ServiceHost, ServiceTransaction } from '../../../src/server/service.ts';

const JOB_KEY = /^mr:job:(\d+)$/;

/** The job that this operation of the log ends. */
function endedBy({ commands }: ServiceTransaction): number | undefined {
  for (const { argv } of commands) {
    const [name, ...keys] = argv.map((arg) => latin1(arg));
    const [, id] = (name === 'DEL' && JOB_KEY.exec(keys[0] ?? '')) || [];
    if (id !== undefined) return Number(id);
  }
  return undefined;
}

export interface Audit {
  /** The journal is not as it should be. */
  onWrong(error: unknown): void;
  /** A job is about to be ended. */
  onEnding(facts: readonly Fact[]): void;
}

/** As `host.transact`, but with a look at the journal before. */
export function auditedTransact(host: ServiceHost, { onWrong, onEnding }: Audit): ServiceHost['transact'] {
  return (transaction, done) => {
    const id = endedBy(transaction);
    if (id === undefined) return host.transact(transaction, done);
    const facts: Fact[] = [];
    const readFrom = (piece: number): void =>
      host.read({ argv: [Buffer.from('GET'), journalKey(id, piece)] }, (reply) => {
        if (reply instanceof Uint8Array) {
          facts.push(...decodeFacts(reply));
          return readFrom(piece + 1);
        }
        try {
          if (reply === null) audit(id, facts);
        } catch (error) {
          onWrong(error);
        }
        host.transact(transaction, done);
        onEnding(facts);
      });
    readFrom(0);
  };
}

function audit(id: number, facts: readonly Fact[]): void {
  let epoch: number | undefined;
  const done = new Set<string>();
  /** Whose it is. What was lost may turn up again. */
  const attempts = new Map<number, string>();
  for (const fact of facts) {
    if (fact.fact === 'epoch') {
      epoch = fact.epoch;
      done.clear();
    } else if (epoch !== undefined && fact.epoch !== epoch) {
      // It has come too late, and counts for nothing.
    } else if (fact.fact === 'maps-lost') for (const task of fact.tasks) done.delete(`map ${task}`);
    else {
      const task = `${fact.fact} ${fact.task}`;
      assert(!done.has(task), 'a task counts once', `job ${id}`, task, JSON.stringify(facts));
      const known = attempts.get(fact.attempt) ?? task;
      assert(known === task, 'an attempt is of one task', `job ${id}`, task, fact.attempt);
      done.add(task);
      attempts.set(fact.attempt, task);
    }
  }
}

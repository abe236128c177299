/**
 * What WATCH leaves behind. What MULTI, EXEC and WATCH answer is compared with Redis in test/compat.
 */
import { expect, test } from 'vitest';
import { fromLatin1 } from '../../src/lib/bytes.ts';
import { Client } from '../../src/resp/client.ts';
import type { Reply } from '../../src/resp/reply.ts';
import { Request } from '../../src/resp/request.ts';
import type { ServerContext } from '../../src/server/context.ts';
import { Transactions } from '../../src/server/transactions.ts';

const NOWHERE = { host: '', port: 0 };

/** A client of a server whose reads are answered when the test says so, and how many keys are watched for their arrival. */
function world() {
  const answers: ((reply: Reply) => void)[] = [];
  let watchers = 0;
  const watch = (): (() => void) => {
    watchers++;
    return () => void watchers--;
  };
  const replica = {
    stateMachine: { watch },
    read: (_db: number, _command: unknown, _argv: unknown, waiter: { resolve(reply: Reply): void }) =>
      void answers.push((reply) => waiter.resolve(reply)),
  };
  const context = { replica, config: { clientQueryBufferLimit: 1 << 20 } } as unknown as ServerContext;
  const transactions = new Transactions(context);
  const client = new Client({ id: 1, remote: NOWHERE, local: NOWHERE, nowMs: 0, authenticated: true });
  const watchKey = (key: string): Request => {
    const argv = ['WATCH', key].map(fromLatin1);
    const request = new Request({ onAnswered: () => {} }, client, argv, 0);
    request.state = 'started';
    transactions.watch({ argv, client, server: context, request });
    return request;
  };
  return { transactions, client, answers, watchKey, watcherCount: () => watchers };
}

test('a missing key that is watched is looked out for until the watch ends', () => {
  const { transactions, client, answers, watchKey, watcherCount } = world();
  const request = watchKey('missing');
  answers[0]!([0]);
  expect([request.reply, watcherCount()]).toEqual(['OK', 1]);
  transactions.drop(client);
  expect(watcherCount()).toBe(0);
});

test('a client that leaves while its WATCH is under way leaves nothing behind', () => {
  const { transactions, client, answers, watchKey, watcherCount } = world();
  const request = watchKey('missing');
  transactions.drop(client);
  answers[0]!([0]);
  expect([request.reply, watcherCount()]).toEqual(['OK', 0]);
});

/**
 * The client library against servers that answer by a script, or not at all. Against real ones: e2e/exactly-once.test.ts.
 */
import { afterEach, expect, test } from 'vitest';
import { connect, DeadlineError, type HstoreClient } from '../../src/client/connect.ts';
import { type Script, ScriptedServer, SILENT } from './scripted-server.ts';

const servers: ScriptedServer[] = [];
const clients: HstoreClient[] = [];
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  for (const server of servers.splice(0)) server.stop();
});

async function serverOf(script: Script): Promise<string> {
  const server = await new ScriptedServer(script).start();
  servers.push(server);
  return `127.0.0.1:${server.port}`;
}

async function clientOf(nodes: readonly string[], deadlineMs: number): Promise<HstoreClient> {
  const client = await connect({ nodes, deadlineMs });
  clients.push(client);
  return client;
}

async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}

test('a server that takes connections and says nothing holds a client up to its deadline and no longer', async () => {
  const node = await serverOf(() => SILENT);
  const error = await failureOf(connect({ nodes: [node], deadlineMs: 300 }));
  expect(error).toBeInstanceOf(DeadlineError);
  expect((error as DeadlineError).outcome).toBe('not-done');
});

test('a command that a server does not answer is sent to another one in time', async () => {
  let asked = 0;
  // Each answers only what the other has been asked before.
  const script: Script = (name) =>
    name === 'get' ? (++asked % 2 === 1 ? SILENT : '+answer\r\n') : undefined;
  const client = await clientOf([await serverOf(script), await serverOf(script)], 3000);
  expect(await client.get('k')).toBe('answer');
  expect(asked).toBe(2);
});

test('a write that nobody answers fails at its deadline, and nobody knows what became of it', async () => {
  const client = await clientOf([await serverOf((name) => (name === 'hstore.do' ? SILENT : undefined))], 300);
  const error = await failureOf(client.call('INCR', 'n'));
  expect(error).toBeInstanceOf(DeadlineError);
  expect((error as DeadlineError).outcome).toBe('unknown');
});

test('a refusal says nothing of an earlier attempt whose outcome is unknown', async () => {
  let attempts = 0;
  const script: Script = (name) => {
    if (name !== 'hstore.do') return undefined;
    return ++attempts === 1 ? '-TIMEOUT who knows\r\n' : '-MISCONF the disk is full\r\n';
  };
  const client = await clientOf([await serverOf(script)], 500);
  const error = await failureOf(client.call('INCR', 'n'));
  expect(error).toBeInstanceOf(DeadlineError);
  expect((error as DeadlineError).outcome).toBe('unknown');
  // A first attempt that is refused has not been executed.
  expect(`${await failureOf(client.call('INCR', 'n'))}`).toContain('MISCONF');
});

test('of a thousand writes at once no more are open than the servers keep replies for', async () => {
  let openMax = 0;
  const script: Script = (name, [, , seq, ack]) => {
    if (name !== 'hstore.do') return undefined;
    openMax = Math.max(openMax, Number(seq) - Number(ack));
    return `:${seq}\r\n`;
  };
  const client = await clientOf([await serverOf(script)], 5000);
  const replies = await Promise.all(Array.from({ length: 1000 }, () => client.call('INCR', 'n')));
  expect(new Set(replies).size).toBe(1000);
  expect(openMax).toBeLessThanOrEqual(128);
});

test('an expired session is replaced once, by all the writes that find it expired', async () => {
  let opened = 0;
  const script: Script = (name, [, session]) => {
    if (name === 'hstore.session') return `:${++opened}\r\n`;
    if (name !== 'hstore.do') return undefined;
    return session === '1' ? '-SESSIONEXPIRED not executed\r\n' : '+done\r\n';
  };
  const client = await clientOf([await serverOf(script)], 3000);
  const replies = await Promise.all(Array.from({ length: 20 }, () => client.call('INCR', 'n')));
  expect(replies).toEqual(Array(20).fill('done'));
  expect(opened).toBe(2);
});

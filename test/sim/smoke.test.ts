import { expect, test } from 'vitest';
import type { ReadCommand } from '../../src/kv/command.ts';
import { dataCommands } from '../../src/kv/table.ts';
import type { Reply } from '../../src/resp/reply.ts';
import { Cluster, type SimServer } from './cluster.ts';

const bytes = (text: string) => Buffer.from(text);
const argvOf = (line: string) => line.split(' ').map(bytes);

function write(server: SimServer, line: string): { reply: Reply | undefined } {
  const result: { reply: Reply | undefined } = { reply: undefined };
  server.replica!.write(0, argvOf(line), { resolve: (reply) => Object.assign(result, { reply }) });
  return result;
}

function read(server: SimServer, line: string): { reply: Reply | undefined } {
  const result: { reply: Reply | undefined } = { reply: undefined };
  const argv = argvOf(line);
  const command = dataCommands.get(line.split(' ')[0]!.toLowerCase()) as ReadCommand;
  server.replica!.read(0, command, argv, { resolve: (reply) => Object.assign(result, { reply }) });
  return result;
}

test('a cluster elects a leader, and what is written through one server is read through every other', async () => {
  const cluster = new Cluster({ seed: 1, servers: 3 });
  cluster.startAll();
  expect(await cluster.until(() => cluster.leader() !== undefined, 10_000)).toBe(true);
  await cluster.run(500);
  for (const server of cluster.servers) {
    const set = write(server, `SET key${server.id} value${server.id}`);
    await cluster.until(() => set.reply !== undefined, 6000);
    expect(set.reply).toBe('OK');
    for (const other of cluster.servers) {
      const get = read(other, `GET key${server.id}`);
      await cluster.until(() => get.reply !== undefined, 6000);
      expect(Buffer.from(get.reply as Uint8Array).toString()).toBe(`value${server.id}`);
    }
  }
  const hashes = cluster.servers.map((server) => server.replica!.stateMachine.stateHash());
  expect(new Set(hashes).size).toBe(1);
});

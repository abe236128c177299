/**
 * What a service can do with its server: on one, after restarts, and on one that is let into another's cluster.
 */
import { afterEach, describe, expect, test } from 'vitest';
import { fromLatin1 } from '../../src/lib/bytes.ts';
import { ErrorReply, NullArrayReply, type Reply } from '../../src/resp/reply.ts';
import type { KeyView } from '../../src/server/service.ts';
import { talk } from '../compat/talk.ts';
import { answered, argvOf, commandOf, ServiceServer, until } from './service-world.ts';
import { pairsOf, rangeOf } from './view-world.ts';

let servers: ServiceServer[] = [];
afterEach(async () => {
  for (const server of servers) await server.stop();
  servers = [];
});

async function started(flags: Record<string, string> = {}): Promise<ServiceServer> {
  const server = new ServiceServer();
  servers.push(server);
  return server.start(flags);
}

function freeze(server: ServiceServer, id: string): Promise<true | Reply> {
  return answered((done) => server.host.freeze(id, done));
}

function firstPairs(view: KeyView) {
  return answered<unknown>((done) =>
    view.read(rangeOf(), undefined, (error, block) => done(error ?? pairsOf(block))),
  );
}

describe('a service', () => {
  test('keeps keys in the system database, that clients neither see nor touch', async () => {
    const server = await started();
    const client = await talk(server.port);
    expect(await server.transact([commandOf('SET', 'job', 'queued'), commandOf('INCR', 'n')])).toEqual([
      'OK',
      1,
    ]);
    expect(await client.ask('GET', 'job')).toBe('$-1\r\n');
    expect(await client.ask('DBSIZE')).toBe(':0\r\n');
    expect(await client.ask('INFO', 'keyspace')).toBe('$12\r\n# Keyspace\r\n\r\n');
    expect(await client.ask('SELECT', '16')).toBe('-ERR DB index is out of range\r\n');
    expect(await client.ask('RANDOMKEY')).toBe('$-1\r\n');
    expect(await client.ask('KEYS', '*')).toBe('*0\r\n');
    expect(await client.ask('FLUSHALL')).toBe('+OK\r\n');
    expect(await server.get('job')).toBe('queued');
    await server.restart();
    expect(await server.get('job')).toBe('queued');
    expect(await server.get('n')).toBe('1');
  });

  test('writes keys of clients too, in the same transaction, if what it watches still holds', async () => {
    const server = await started();
    const client = await talk(server.port);
    await server.transact([commandOf('SET', 'fence', 'one')]);
    const version = (await server.versionOf('fence')) as number;
    expect(version).toBeGreaterThan(0);
    expect(await server.versionOf('nothing')).toBe(0);
    const watched = [{ key: fromLatin1('fence'), version }];
    const commands = [{ db: 2, argv: argvOf('SET', 'out', '1') }, commandOf('SET', 'fence', 'two')];
    expect(await server.transact(commands, watched)).toEqual(['OK', 'OK']);
    await client.ask('SELECT', '2');
    expect(await client.ask('GET', 'out')).toBe('$1\r\n1\r\n');
    expect(await server.transact(commands, watched)).toBe(NullArrayReply.instance);
    expect(await server.versionOf('fence')).toBeGreaterThan(version);
  });

  test('is refused a transaction that is too large for the log, and none that is not', async () => {
    const server = await started();
    const value = 'x'.repeat(8 << 20);
    const set = (n: number) => Array.from({ length: n }, (_, i) => commandOf('SET', `part:${i}`, value));
    expect(await server.transact(set(3))).toEqual(new ErrorReply('ERR', 'too large'));
    expect(await server.transact(set(2))).toEqual(['OK', 'OK']);
  });

  test('is refused what would be too much at a time', async () => {
    const server = await started();
    const value = 'x'.repeat(23 << 20);
    const replies = await Promise.all(
      Array.from({ length: 4 }, () => server.transact([commandOf('SET', 'part', value)])),
    );
    expect(replies.slice(0, 2)).toEqual([['OK'], ['OK']]);
    expect(replies.slice(2).map((reply) => (reply as ErrorReply).code)).toEqual([
      'CLUSTERDOWN',
      'CLUSTERDOWN',
    ]);
    const reads = await Promise.all(Array.from({ length: 1100 }, () => server.get('nothing')));
    expect(reads.filter((reply) => reply === null)).toHaveLength(768);
    expect(await server.get('nothing')).toBe(null);
  });

  test('that sends nonsense has a bug', async () => {
    const { host } = await started();
    const transact =
      (...argv: string[]) =>
      () =>
        host.transact({ watched: [], commands: [commandOf(...argv)] }, () => {});
    expect(transact('NOSUCH', 'a')).toThrow('there is such a command');
    expect(transact('SET', 'a')).toThrow('there is such a command');
    expect(transact('SWAPDB', '0', '1')).toThrow('a service swaps no databases');
    expect(() => host.read(commandOf('SET', 'a', '1'), () => {})).toThrow('a command that reads');
  });

  test('makes views of all keys as they are', async () => {
    const server = await started();
    const client = await talk(server.port);
    await client.ask('SET', 'a', '1');
    expect(await freeze(server, 'job 1')).toBe(true);
    await client.ask('SET', 'a', '2');
    await client.ask('SET', 'b', '1');
    await until(() => server.host.view('job 1') !== undefined);
    const view = server.host.view('job 1')!;
    expect(server.host.views).toEqual(['job 1']);
    expect([view.sizeOf(0), await firstPairs(view)]).toEqual([1, [['a', '1']]]);
    server.host.release('job 1');
    server.host.release('job 1');
    expect([server.host.views, server.host.view('job 1')]).toEqual([[], undefined]);
  });

  test('can ask the service of its own server', async () => {
    const server = await started();
    const { id } = server.host.self;
    expect(await server.call(id, 'are you there?')).toBe('heard: are you there?');
    expect(server.service.calls).toEqual([{ from: id, question: 'are you there?' }]);
    expect(server.host.members).toEqual([{ id, name: 'n1', host: '127.0.0.1' }]);
    expect([server.host.leader, server.host.directory]).toEqual([id, server.dir]);
    expect(server.host.term).toBeGreaterThan(0);
  });

  test('hears nothing any more once it has stopped', async () => {
    const server = await started();
    const { host } = server;
    await server.stop();
    let told = 0;
    host.transact({ watched: [], commands: [commandOf('SET', 'a', '1')] }, () => told++);
    host.read(commandOf('GET', 'a'), () => told++);
    host.call(host.self.id, fromLatin1('anybody?'), () => told++);
    host.freeze('view', () => told++);
    await server.start();
    expect(await server.get('a')).toBe(null);
    expect(told).toBe(0);
  });
});

describe('a server that is let into a cluster', () => {
  test('has its service started anew; the services of both talk, and see one database', async () => {
    const [one, two] = [await started(), await started({ id: 'n2' })];
    await until(() => two.host.leader !== 0);
    await two.transact([commandOf('SET', 'fence', 'of two')]);
    const before = two.service;
    const client = await talk(one.port);
    expect(await client.ask('CLUSTER', 'MEET', '127.0.0.1', `${two.port}`)).toBe('+OK\r\n');
    await until(() => two.services.length === 2 && two.host.members.length === 2);
    expect([before.stops, two.service.stops, one.services.length]).toEqual([1, 0, 1]);
    await until(() => two.host.leader === one.host.self.id);
    expect(two.host.members.map(({ name }) => name)).toEqual(['n1', 'n2']);
    // What it kept for itself is gone with the cluster that it was.
    expect(await two.get('fence')).toBe(null);
    expect(await two.transact([commandOf('SET', 'job', 'of both')])).toEqual(['OK']);
    expect(await one.get('job')).toBe('of both');
    const [n1, n2] = [one.host.self.id, two.host.self.id];
    expect(await one.call(n2, 'two?')).toBe('heard: two?');
    expect(await two.call(n1, 'one?')).toBe('heard: one?');
    expect([one.service.calls, two.service.calls]).toEqual([
      [{ from: n2, question: 'one?' }],
      [{ from: n1, question: 'two?' }],
    ]);
    expect(await freeze(two, 'both')).toBe(true);
    await until(() => [one, two].every(({ host }) => host.view('both') !== undefined));
    expect(one.host.view('both')!.index).toBe(two.host.view('both')!.index);
  });
});

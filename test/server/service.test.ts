/**
 * The door of a service: MR.* of clients come to it and are answered by it, and it lives as long as its server's node.
 */
import { afterEach, describe, expect, test } from 'vitest';
import { latin1 } from '../../src/lib/bytes.ts';
import { talk } from '../compat/talk.ts';
import { commandOf, ServiceServer, until } from './service-world.ts';

let servers: ServiceServer[] = [];
afterEach(async () => {
  for (const server of servers) {
    for (const service of server.services) service.stopsByItself = true;
    await server.stop();
  }
  servers = [];
});

function made(): ServiceServer {
  const server = new ServiceServer();
  servers.push(server);
  return server;
}

const bulk = (text: string) => `$${text.length}\r\n${text}\r\n`;

/** Each with the fewest arguments. */
const COMMANDS = [
  ['MR.SUBMIT', 'wordcount'],
  ['MR.STATUS', '1'],
  ['MR.LIST'],
  ['MR.WAIT', '1', '0'],
  ['MR.RESULT', '1'],
  ['MR.CANCEL', '1'],
  ['MR.PURGE', '1'],
  ['MR.HELP'],
];

describe('a server without a service', () => {
  test('answers MR.* with an error, and has an empty section of INFO', async () => {
    const client = await talk((await made().start({}, false)).port);
    for (const command of COMMANDS) {
      expect(await client.ask(...command)).toBe('-ERR MapReduce is not available on this server\r\n');
    }
    expect(await client.ask('INFO', 'mapreduce')).toBe(bulk('# MapReduce\r\n'));
  });

  test('knows how many arguments MR.* have, and describes them', async () => {
    const client = await talk((await made().start({}, false)).port);
    for (const [name, ...args] of COMMANDS) {
      if (args.length > 0) {
        expect(await client.ask(name!)).toBe(
          `-ERR wrong number of arguments for '${name!.toLowerCase()}' command\r\n`,
        );
      }
      expect(await client.ask('COMMAND', 'INFO', name!)).toContain(bulk(name!.toLowerCase()));
      expect(await client.ask('COMMAND', 'DOCS', name!)).toContain(bulk('module'));
    }
    expect(await client.ask('MR.CANCEL', '1', '2')).toMatch(/^-ERR wrong number of arguments/);
    for (const token of ['FILES', 'KEYS', 'REDUCES', 'STORE', 'ARGS', 'TOKEN', 'SHA256', 'CWD']) {
      expect(await client.ask('COMMAND', 'DOCS', 'MR.SUBMIT'), token).toContain(bulk(token));
    }
  });
});

describe("a client's MR command", () => {
  test('comes to the service with its arguments, database and place, and gets the reply of it', async () => {
    const server = await made().start();
    const client = await talk(server.port);
    await client.ask('SELECT', '3');
    client.send(['mr.Submit', 'grep', 'KEYS', 'a\r\n*', 'NAME', '']);
    const request = await server.service.asked(1);
    expect(request).toMatchObject({ name: 'submit', db: 3, loopback: true, closed: false });
    expect(request.args.map((arg) => latin1(arg))).toEqual(['grep', 'KEYS', 'a\r\n*', 'NAME', '']);
    request.resolve(['id', 17]);
    expect(await client.replies(1)).toEqual(['*2\r\n+id\r\n:17\r\n']);
    expect(request.closed).toBe(true);
  });

  test('holds back what is pipelined behind it, and waits for what is before it', async () => {
    const server = await made().start();
    const client = await talk(server.port);
    const other = await talk(server.port);
    client.send(['SET', 'a', '1'], ['MR.WAIT', '1', '60000'], ['GET', 'a'], ['SET', 'a', '2']);
    const request = await server.service.asked(1);
    expect(await other.ask('GET', 'a')).toBe(bulk('1'));
    expect(await client.replies(1)).toEqual(['+OK\r\n']);
    request.resolve('done');
    expect(await client.replies(3)).toEqual(['+done\r\n', bulk('1'), '+OK\r\n']);
  });

  test('cannot be queued in MULTI', async () => {
    const server = await made().start();
    const client = await talk(server.port);
    for (const command of COMMANDS) {
      await client.ask('MULTI');
      expect(await client.ask(...command)).toBe('-ERR Command not allowed inside a transaction\r\n');
      expect(await client.ask('EXEC')).toMatch(/^-EXECABORT /);
    }
    expect(server.service.requests).toEqual([]);
  });

  test('that waits can be ended by CLIENT UNBLOCK; what the service says then is dropped', async () => {
    const server = await made().start();
    const [client, other] = [await talk(server.port), await talk(server.port)];
    const id = (await client.ask('CLIENT', 'ID')).slice(1).trim();
    client.send(['MR.WAIT', '1', '0'], ['PING']);
    const first = await server.service.asked(1);
    expect(await other.ask('INFO', 'clients')).toContain('blocked_clients:1\r\n');
    expect(await other.ask('CLIENT', 'UNBLOCK', id)).toBe(':1\r\n');
    expect(await client.replies(2)).toEqual(['$-1\r\n', '+PONG\r\n']);
    expect(first.closed).toBe(true);
    first.resolve('late');
    client.send(['MR.WAIT', '1', '0'], ['PING']);
    await server.service.asked(2);
    expect(await other.ask('CLIENT', 'UNBLOCK', id, 'ERROR')).toBe(':1\r\n');
    expect((await client.replies(2))[0]).toMatch(/^-UNBLOCKED /);
    client.send(['MR.STATUS', '1']);
    const status = await server.service.asked(3);
    expect(await other.ask('CLIENT', 'UNBLOCK', id)).toBe(':0\r\n');
    status.resolve('running');
    expect(await client.replies(1)).toEqual(['+running\r\n']);
  });

  test('is closed when its client is gone', async () => {
    const server = await made().start();
    const client = await talk(server.port);
    client.send(['MR.WAIT', '1', '0']);
    const request = await server.service.asked(1);
    client.socket.resetAndDestroy();
    await until(() => request.closed);
    request.resolve('nobody hears it');
  });

  test('is refused without the password', async () => {
    const server = await made().start({ requirepass: 'secret' });
    const client = await talk(server.port);
    expect(await client.ask('MR.LIST')).toMatch(/^-NOAUTH /);
    expect(server.service.requests).toEqual([]);
  });
});

test('INFO has what the service says of itself, by default too', async () => {
  const server = await made().start();
  const client = await talk(server.port);
  const section = '# MapReduce\r\nmapreduce_role:recorder\r\nmapreduce_requests:0\r\n';
  expect(await client.ask('INFO', 'MapReduce')).toBe(bulk(section));
  for (const all of [[], ['default'], ['all'], ['everything']]) {
    expect(await client.ask('INFO', ...all)).toContain(section);
  }
});

describe('a server that stops', () => {
  test('stops its service first, and waits for it', async () => {
    const server = await made().start();
    const { service } = server;
    service.stopsByItself = false;
    let stopped = false;
    const stopping = server.stop().then(() => {
      stopped = true;
    });
    await until(() => service.stopping !== undefined);
    // The node is still there: what the service leaves behind is written.
    expect(await server.transact([commandOf('SET', 'last', '1')])).toEqual(['OK']);
    expect(stopped).toBe(false);
    service.stopping!.resolve();
    await stopping;
    expect(service.stops).toBe(1);
    await server.start();
    expect(await server.get('last')).toBe('1');
    expect(server.services).toHaveLength(2);
  });

  test('tells who waits that it does, and does not wait for them', async () => {
    const server = await made().start();
    const [waits, asks] = [await talk(server.port), await talk(server.port)];
    waits.send(['MR.WAIT', '1', '0']);
    await server.service.asked(1);
    asks.send(['MR.STATUS', '1']);
    const asked = await server.service.asked(2);
    const stopping = server.stop();
    expect((await waits.replies(1))[0]).toMatch(/^-CLUSTERDOWN This server is stopping/);
    asked.resolve('running');
    expect(await asks.replies(1)).toEqual(['+running\r\n']);
    await stopping;
  });
});

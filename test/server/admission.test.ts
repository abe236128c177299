/**
 * Who is let in as a client: a whole server, on a network that lets its connections seem to come from wherever the test
 * says.
 */
import { afterEach, describe, expect, test } from 'vitest';
import { Config } from '../../src/config/config.ts';
import { createEnv } from '../../src/io/env.ts';
import type { Connection, Env, Network } from '../../src/lib/env.ts';
import { type RunningServer, startServer } from '../../src/server/server.ts';
import { Talk } from '../compat/talk.ts';
import { converse } from '../compat/wire.ts';
import { temporaryDirectory } from '../io/temporary.ts';
import { takePorts } from '../ports.ts';

function from(host: string, connection: Connection): Connection {
  return {
    remote: { host, port: connection.remote.port },
    local: connection.local,
    get backlogBytes() {
      return connection.backlogBytes;
    },
    handle: (events) => connection.handle(events),
    write: (bytes) => connection.write(bytes),
    pause: () => connection.pause(),
    resume: () => connection.resume(),
    end: () => connection.end(),
    destroy: () => connection.destroy(),
  };
}

class World {
  /** Where clients come from. */
  host = '127.0.0.1';
  port = 0;
  config!: Config;
  server!: RunningServer;

  async start(flags: Record<string, string> = {}): Promise<void> {
    this.port = (await takePorts(1))[0]!;
    const own = { port: `${this.port}`, dir: temporaryDirectory() };
    this.config = new Config({ flags: Object.entries({ ...own, ...flags }), environment: {} });
    const env = createEnv({ log: { level: 'warning' }, tcp: { keepAliveMs: 0 } });
    const network: Network = {
      connect: (address, events) => env.network.connect(address, events),
      listen: (address, onConnection) =>
        env.network.listen(address, (connection) => onConnection(from(this.host, connection))),
    };
    const onFatal = (error: Error) => {
      throw error;
    };
    this.server = await startServer({ ...env, network } as Env, this.config, { version: 'test', onFatal });
  }

  /** What a client from `host` is told. */
  async ask(host: string, ...steps: string[][]): Promise<string> {
    this.host = host;
    return (await converse(this.port, steps)).replace(/\+OK\r\n$/, '');
  }
}

let world: World;
afterEach(() => world.server.stop());

const FAR = ['192.0.2.7', '10.0.0.1', '2001:db8::7', 'fe80::1', '::ffff:192.0.2.7', '128.0.0.1', '::'];
const NEAR = ['127.0.0.1', '127.1.2.3', '::1', '::ffff:127.0.0.1'];

describe('protected mode', () => {
  test('lets clients in from this machine only, where there is no password', async () => {
    world = new World();
    await world.start();
    for (const host of NEAR) expect(await world.ask(host, ['PING']), host).toBe('+PONG\r\n');
    for (const host of FAR) {
      expect(await world.ask(host, ['PING']), host).toMatch(/^-DENIED Redis is running in protected mode /);
    }
    expect(await world.ask('127.0.0.1', ['INFO', 'stats'])).toContain(
      `rejected_connections:${FAR.length}\r\n`,
    );
  });

  test('asks for nothing more once there is a password', async () => {
    world = new World();
    await world.start({ requirepass: 'secret' });
    expect(await world.ask(FAR[0]!, ['PING'])).toMatch(/^-NOAUTH /);
    expect(await world.ask(FAR[0]!, ['AUTH', 'secret'], ['PING'])).toBe('+OK\r\n+PONG\r\n');
  });

  test('can be turned off, and on, while the server runs', async () => {
    world = new World();
    await world.start({ 'protected-mode': 'no' });
    expect(await world.ask(FAR[0]!, ['PING'])).toBe('+PONG\r\n');
    await world.ask(FAR[0]!, ['CONFIG', 'SET', 'protected-mode', 'yes']);
    expect(await world.ask(FAR[0]!, ['PING'])).toMatch(/^-DENIED /);
    await world.ask(NEAR[0]!, ['CONFIG', 'SET', 'requirepass', 'secret']);
    expect(await world.ask(FAR[0]!, ['AUTH', 'secret'])).toBe('+OK\r\n');
  });
});

test('clients over maxclients are told so, in the text of Redis, until another has gone', async () => {
  world = new World();
  await world.start({ maxclients: '1' });
  const first = await Talk.start(world.port);
  expect(await first.ask('PING')).toBe('+PONG\r\n');
  expect(await world.ask(NEAR[0]!, ['PING'])).toBe('-ERR max number of clients reached\r\n');
  first.destroy();
  let answer = '';
  while (!answer.startsWith('+PONG')) answer = await world.ask(NEAR[0]!, ['PING']);
});

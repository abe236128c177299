/** One client's connection over a hand-driven network: order, overlap, bounds, ends. */
import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { latin1 } from '../../src/lib/bytes.ts';
import type { Log } from '../../src/lib/env.ts';
import { Client, describeClient } from '../../src/resp/client.ts';
import {
  ClientConnection,
  type ConnectionLimits,
  DEFAULT_CONNECTION_LIMITS,
} from '../../src/resp/connection.ts';
import { ErrorReply, OK } from '../../src/resp/reply.ts';
import type { Request, RequestHandler, RequestKind } from '../../src/resp/request.ts';
import { HandClock, HandConnection } from './fake-connection.ts';

const KINDS: Readonly<Record<string, RequestKind>> = {
  GET: 'read',
  SET: 'write',
  PING: 'local',
  ECHO: 'local',
};

/** Holds reads and writes until the test answers them; answers all else at once. */
class HandHandler implements RequestHandler {
  congested = false;
  /** Requests that may not start yet, by their first word. */
  held = new Set<string>();
  readonly started: string[] = [];
  readonly open: Request[] = [];

  classify(argv: readonly Uint8Array[]): RequestKind {
    return KINDS[latin1(argv[0]!)] ?? 'barrier';
  }

  holds(request: Request): boolean {
    return this.held.has(latin1(request.argv[0]!));
  }

  execute(request: Request): void {
    const [name, ...args] = request.argv.map((arg) => latin1(arg));
    this.started.push([name, ...args].join(' '));
    if (name === 'PING') request.resolve('PONG');
    else if (name === 'ECHO') request.resolve(request.argv[1]!);
    else if (name === 'QUIT') this.#quit(request);
    else if (name === 'AUTH') this.#authenticate(request);
    else this.open.push(request);
  }

  #quit(request: Request): void {
    request.client.closeAfterReply = true;
    request.resolve(OK);
  }

  #authenticate(request: Request): void {
    request.client.authenticated = true;
    request.resolve(OK);
  }
}

class World {
  readonly clock = new HandClock();
  readonly connection = new HandConnection();
  readonly handler = new HandHandler();
  readonly client: Client;
  readonly subject: ClientConnection;
  readonly warnings: string[] = [];
  closed = 0;

  constructor(limits: Partial<ConnectionLimits> = {}, authenticated = true) {
    const { remote, local } = this.connection;
    this.client = new Client({ id: 7, remote, local, nowMs: 0, authenticated });
    const log: Log = {
      debug: () => {},
      verbose: () => {},
      notice: () => {},
      warning: (event) => this.warnings.push(event),
    };
    this.subject = new ClientConnection({
      connection: this.connection,
      client: this.client,
      handler: this.handler,
      clock: this.clock,
      log,
      limits: { ...DEFAULT_CONNECTION_LIMITS, ...limits },
      onClose: () => {
        this.closed++;
      },
    });
  }

  /** Bytes come in and the turn ends. */
  receive(...chunks: (string | Uint8Array)[]): this {
    this.connection.receive(...chunks);
    this.clock.endTurns();
    return this;
  }

  /** The handler answers the request that it began as the `index`th of those open. */
  answer(index: number, reply: Parameters<Request['resolve']>[0]): this {
    this.handler.open.splice(index, 1)[0]!.resolve(reply);
    this.clock.endTurns();
    return this;
  }

  get open(): string[] {
    return this.handler.open.map((request) => request.argv.map((arg) => latin1(arg)).join(' '));
  }

  get sent(): string {
    return this.connection.sent;
  }
}

describe('order', () => {
  test('a request that is answered at once is answered in the turn in which it came', () => {
    expect(new World().receive('PING\r\n').sent).toBe('+PONG\r\n');
  });

  test('consecutive writes are in flight together, and so are consecutive reads', () => {
    expect(new World().receive('SET a 1\r\nSET b 2\r\nSET a 3\r\n').open).toEqual([
      'SET a 1',
      'SET b 2',
      'SET a 3',
    ]);
    expect(new World().receive('GET a\r\nGET b\r\n').open).toEqual(['GET a', 'GET b']);
  });

  test('a GET pipelined behind a SET waits for it, and a SET behind a GET for that', () => {
    const world = new World().receive('SET a 1\r\nGET a\r\nSET a 2\r\n');
    expect(world.open).toEqual(['SET a 1']);
    world.answer(0, OK);
    expect(world.open).toEqual(['GET a']);
    world.answer(0, Buffer.from('1'));
    expect(world.open).toEqual(['SET a 2']);
    world.answer(0, OK);
    expect(world.sent).toBe('+OK\r\n$1\r\n1\r\n+OK\r\n');
  });

  test('replies leave in the order of the requests, whatever the order of the answers', () => {
    const world = new World().receive('SET a 1\r\nPING\r\nSET b 2\r\nECHO x\r\nSET c 3\r\n');
    expect(world.handler.started).toEqual(['SET a 1', 'PING', 'SET b 2', 'ECHO x', 'SET c 3']);
    world.answer(2, new ErrorReply('ERR', 'third')).answer(1, 2);
    expect(world.sent).toBe('');
    world.answer(0, 1);
    expect(world.sent).toBe(':1\r\n+PONG\r\n:2\r\n$1\r\nx\r\n-ERR third\r\n');
  });

  test('a barrier waits until all before it is answered, and holds up all behind it', () => {
    const world = new World().receive('SET a 1\r\nSELECT 1\r\nSET b 2\r\nPING\r\n');
    expect(world.open).toEqual(['SET a 1']);
    world.answer(0, OK);
    expect(world.open).toEqual(['SELECT 1']);
    world.answer(0, OK);
    expect(world.open).toEqual(['SET b 2']);
    expect(world.sent).toBe('+OK\r\n+OK\r\n');
    expect(world.handler.started).toContain('PING');
  });

  test('a protocol chosen by a HELLO holds for its own reply and those behind it', () => {
    const world = new World().receive('GET a\r\nHELLO 3\r\nGET b\r\n').answer(0, null);
    world.client.protocol = 3;
    expect(world.answer(0, null).answer(0, null).sent).toBe('$-1\r\n_\r\n_\r\n');
  });

  test('a request is answered once', () => {
    const world = new World().receive('GET a\r\n');
    const request = world.handler.open[0]!;
    request.resolve(null);
    expect(() => request.resolve(null)).toThrow('answered once');
  });

  test('what follows an AUTH in the same chunk has the limits of the authenticated', () => {
    const many = `ECHO x\r\n*12\r\n${'$1\r\nx\r\n'.repeat(12)}`;
    expect(new World({}, false).receive(many).sent).toBe(
      '$1\r\nx\r\n-ERR Protocol error: unauthenticated multibulk length\r\n',
    );
    const world = new World({}, false).receive(`AUTH secret\r\n${many}`);
    expect(world.open).toHaveLength(1);
  });

  test('pipelines behave as if their commands ran one by one (property)', () => {
    const commands = fc.array(
      fc.tuple(fc.constantFrom('GET', 'SET', 'ECHO', 'SELECT'), fc.constantFrom('a', 'b')),
      { maxLength: 30 },
    );
    fc.assert(
      fc.property(commands, fc.array(fc.nat(), { minLength: 1, maxLength: 30 }), (list, choices) => {
        const world = new World({ requestsMax: 5, outputBytesMax: 40 });
        const bytes = list.map(([name, key], index) => `${name} ${key} ${index}\r\n`).join('');
        const third = Math.floor(bytes.length / 3);
        world.receive(bytes.slice(0, third), bytes.slice(third, 2 * third), bytes.slice(2 * third));
        runAnyhow(world, choices);
        expect(world.sent).toBe(oneByOne(list));
      }),
      { numRuns: 500 },
    );
  });
});

/**
 * Answers what is open in an order that `choices` decide. Writes take effect in the order of their execution, when the
 * first of them, or a later one, is answered; reads and the rest either when they are first seen or when answered.
 */
function runAnyhow(world: World, choices: readonly number[]): void {
  const { open } = world.handler;
  const store = new Map<string, string>();
  const effects = new Map<Request, string>();
  const readsEarly = choices[0]! % 2 === 0;
  for (let step = 0; open.length > 0 || world.connection.paused; step++) {
    if (readsEarly) for (const request of open) if (!isWrite(request)) take(effects, store, request);
    const chosen = open[choices[step % choices.length]! % Math.max(1, open.length)];
    if (chosen !== undefined) {
      if (isWrite(chosen)) for (const request of open) if (isWrite(request)) take(effects, store, request);
      take(effects, store, chosen);
      world.answer(open.indexOf(chosen), Buffer.from(effects.get(chosen)!));
    }
    world.connection.drain();
    world.connection.deliver();
    world.clock.endTurns();
  }
}

function isWrite(request: Request): boolean {
  return latin1(request.argv[0]!) === 'SET';
}

function take(effects: Map<Request, string>, store: Map<string, string>, request: Request): void {
  if (effects.has(request)) return;
  const [name, key, value] = request.argv.map((arg) => latin1(arg)) as [string, string, string];
  effects.set(request, name === 'SELECT' ? 'selected' : (store.get(key) ?? 'none'));
  if (name === 'SET') store.set(key, value);
}

function oneByOne(list: readonly (readonly [string, string])[]): string {
  const store = new Map<string, string>();
  return list
    .map(([name, key], index) => {
      const before = store.get(key) ?? 'none';
      if (name === 'SET') store.set(key, `${index}`);
      const reply = { GET: before, SET: before, ECHO: key, SELECT: 'selected' }[name]!;
      return `$${reply.length}\r\n${reply}\r\n`;
    })
    .join('');
}

describe('writing', () => {
  test('the replies of a turn leave in one write, at its end', () => {
    const world = new World();
    world.connection.receive('PING\r\nPING\r\n', 'PING\r\n');
    expect(world.connection.writes).toHaveLength(0);
    world.clock.endTurns();
    expect(world.connection.writes).toHaveLength(1);
    expect(world.sent).toBe('+PONG\r\n'.repeat(3));
    expect(world.clock.endTurns()).toBe(0);
  });

  test('replies gather while the socket has not taken the last write', () => {
    const world = new World();
    world.connection.window = 3;
    world.receive('PING\r\n').receive('PING\r\n').receive('PING\r\n');
    expect(world.connection.writes).toHaveLength(1);
    world.connection.drain();
    world.clock.endTurns();
    expect(world.connection.writes.map((write) => write.length)).toEqual([7, 14]);
  });
});

describe('bounds', () => {
  test('a client that never reads costs bounded memory', () => {
    const world = new World({ outputBytesMax: 10_000 });
    world.connection.window = 0;
    const chunk = `ECHO ${'x'.repeat(1000)}\r\n`.repeat(60);
    for (let round = 0; round < 100; round++) world.receive(chunk);
    expect(world.connection.paused).toBe(true);
    expect(world.handler.started.length).toBeLessThan(15);
    expect(world.client.outputBytes).toBeLessThan(12_000);
    expect(world.client.bytesIn).toBe(chunk.length);
  });

  test('no more than 64 reads of a connection are in flight, since their replies may be large', () => {
    const world = new World().receive('GET a\r\n'.repeat(200));
    expect(world.handler.open.length).toBe(64);
    world.handler.open[0]!.resolve(null);
    expect(world.handler.open.length).toBe(65);
    for (let i = 1; i < world.handler.open.length; i++) world.handler.open[i]!.resolve(null);
    expect(world.handler.started.length).toBe(200);
  });

  test('a client that reads at last gets every reply, in order', () => {
    const world = new World({ outputBytesMax: 2000, requestsMax: 10 });
    world.connection.window = 0;
    for (let round = 0; round < 50; round++) world.receive(`ECHO ${round}-${'x'.repeat(300)}\r\nPING\r\n`);
    for (let step = 0; step < 200; step++) {
      world.connection.drain(100);
      world.clock.endTurns();
      world.connection.deliver();
      world.clock.endTurns();
    }
    const replies = Array.from({ length: 50 }, (_, round) => `${round}-${'x'.repeat(300)}`);
    expect(world.sent).toBe(replies.map((text) => `$${text.length}\r\n${text}\r\n+PONG\r\n`).join(''));
    expect(world.connection.paused).toBe(false);
  });

  test('the socket is paused while too many requests wait, and resumed when half are answered', () => {
    const world = new World({ requestsMax: 4 }).receive('GET a\r\n'.repeat(4));
    expect(world.connection.paused).toBe(false);
    world.receive('GET a\r\n'.repeat(2));
    expect(world.connection.paused).toBe(true);
    for (let answered = 0; answered < 3; answered++) world.answer(0, null);
    expect(world.connection.paused).toBe(true);
    world.answer(0, null);
    expect(world.connection.paused).toBe(false);
  });

  test('the socket is paused while requests of too many bytes wait', () => {
    const world = new World({ requestBytesMax: 10_000 }).receive(`SET a ${'x'.repeat(9000)}\r\n`);
    expect(world.connection.paused).toBe(false);
    world.receive('SET b 1\r\n'.repeat(3));
    expect(world.connection.paused).toBe(true);
    world.answer(0, OK);
    expect(world.connection.paused).toBe(false);
  });

  test('a congested handler starts no read and no write, and gets them once it resumes', () => {
    const world = new World();
    world.handler.congested = true;
    world.receive('PING\r\nSET a 1\r\nPING\r\n');
    expect(world.handler.started).toEqual(['PING']);
    expect(world.connection.paused).toBe(true);
    world.handler.congested = false;
    world.subject.resume();
    expect(world.connection.paused).toBe(false);
    expect(world.answer(0, OK).sent).toBe('+PONG\r\n+OK\r\n+PONG\r\n');
  });

  test('a queue that is never empty is cut off behind', () => {
    const world = new World().receive('SET a 1\r\n');
    for (let round = 0; round < 5000; round++) world.receive('SET a 1\r\n').answer(0, OK);
    expect(world.answer(0, OK).sent).toBe('+OK\r\n'.repeat(5001));
  });

  test('a request over the query buffer limit closes the connection without a reply', () => {
    const request = { protoMaxBulkLen: 1000, queryBufferBytesMax: 2000, multibulkCountMax: 100 };
    const world = new World({ request }).receive(`*4\r\n${`$900\r\n${'x'.repeat(900)}\r\n`.repeat(3)}`);
    expect(world.connection.state).toBe('destroyed');
    expect(world.sent).toBe('');
    expect(world.warnings).toHaveLength(1);
  });
});

describe('what is sent unasked', () => {
  const line = (text: string) => Buffer.from(`+${text}\r\n`);

  test('goes behind the replies that are written and before those that are owed', () => {
    const world = new World();
    world.connection.receive('PING\r\nGET a\r\nPING\r\n');
    world.subject.push(line('pushed'));
    world.clock.endTurns();
    expect(world.sent).toBe('+PONG\r\n+pushed\r\n');
    world.subject.push(line('again'));
    expect(world.answer(0, null).sent).toBe('+PONG\r\n+pushed\r\n+again\r\n$-1\r\n+PONG\r\n');
    expect(world.connection.writes).toHaveLength(2);
  });

  test('is not sent any more once the last reply is written', () => {
    const world = new World().receive('PING\r\n');
    world.connection.receive('QUIT\r\n');
    world.subject.push(line('late'));
    world.clock.endTurns();
    expect(world.sent).toBe('+PONG\r\n+OK\r\n');
    world.subject.push(line('later'));
    world.connection.close();
    world.subject.push(line('latest'));
    expect(world.sent).toBe('+PONG\r\n+OK\r\n');
  });
});

describe('output buffer limits', () => {
  const pubsub = { hardBytes: 1000, softBytes: 100, softSeconds: 5 };
  const none = { hardBytes: 0, softBytes: 0, softSeconds: 0 };

  /** A client that monitors, and does not read. */
  function monitoring(): World {
    const world = new World({ outputLimitOf: (clientClass) => (clientClass === 'pubsub' ? pubsub : none) });
    world.client.monitoring = true;
    world.connection.window = 0;
    return world;
  }

  function push(world: World, bytes: number): void {
    world.subject.push(Buffer.alloc(bytes, 'x'));
    world.clock.endTurns();
  }

  test('a client that reads nothing is disconnected at the hard limit, at once', () => {
    const world = monitoring();
    for (let i = 0; i < 9; i++) push(world, 100);
    expect(world.connection.state).toBe('open');
    push(world, 100);
    expect(world.connection.state).toBe('destroyed');
    expect(world.warnings).toEqual(['a client was disconnected at its output buffer limit']);
    expect(world.closed).toBe(1);
    push(world, 100);
    world.connection.close();
    expect(world.closed).toBe(1);
  });

  test('over the soft limit it is disconnected after so many seconds, also when nothing more comes', () => {
    const world = monitoring();
    push(world, 100);
    world.clock.nowMs = 5000;
    world.subject.limitOutput();
    expect(world.connection.state).toBe('open');
    world.clock.nowMs = 5001;
    world.subject.limitOutput();
    expect(world.connection.state).toBe('destroyed');
  });

  test('the seconds start over when it has read', () => {
    const world = monitoring();
    push(world, 100);
    world.clock.nowMs = 4000;
    world.connection.drain(0);
    world.subject.limitOutput();
    push(world, 100);
    world.clock.nowMs = 8000;
    world.subject.limitOutput();
    expect(world.connection.state).toBe('open');
    world.clock.nowMs = 9001;
    world.subject.limitOutput();
    expect(world.connection.state).toBe('destroyed');
  });

  test('each class has its own: one that neither monitors nor subscribes may have none', () => {
    const world = monitoring();
    world.client.monitoring = false;
    push(world, 5000);
    expect(world.connection.state).toBe('open');
    world.client.subscriptions.channels = 1;
    push(world, 1);
    expect(world.connection.state).toBe('destroyed');
  });

  test('replies count too', () => {
    const world = new World({ outputLimitOf: () => pubsub });
    world.receive(`ECHO ${'x'.repeat(500)}\r\n`);
    expect(world.connection.state).toBe('open');
    world.connection.window = 0;
    world.receive(`ECHO ${'x'.repeat(1000)}\r\n`);
    expect(world.connection.state).toBe('destroyed');
  });
});

describe('a request that the handler holds back', () => {
  test('waits with all behind it, in order, until the handler lets it go', () => {
    const world = new World();
    world.handler.held.add('SET');
    world.receive('PING\r\nSET a 1\r\nPING\r\nGET a\r\n');
    expect(world.handler.started).toEqual(['PING']);
    expect(world.client.flags).toBe('b');
    expect(world.subject.idle).toBe(false);
    world.handler.held.clear();
    world.subject.resume();
    world.clock.endTurns();
    expect(world.client.flags).toBe('N');
    expect(world.answer(0, OK).answer(0, null).sent).toBe('+PONG\r\n+OK\r\n+PONG\r\n$-1\r\n');
  });

  test('is bounded like all that waits: the socket is not read beyond', () => {
    const world = new World({ requestsMax: 4 });
    world.handler.held.add('PING');
    for (let round = 0; round < 10; round++) world.receive('PING\r\nPING\r\nPING\r\n');
    expect(world.connection.paused).toBe(true);
    expect(world.client.bytesIn).toBe(36);
    world.handler.held.clear();
    world.subject.resume();
    world.connection.deliver();
    world.clock.endTurns();
    expect(world.sent).toBe('+PONG\r\n'.repeat(30));
  });
});

describe('replies that the client does not want', () => {
  test('are left out one by one, or until it wants them again', () => {
    const world = new World().receive('SET a 1\r\nPING\r\nPING\r\n');
    world.client.skipReplies(2);
    expect(world.answer(0, OK).sent).toBe('+PONG\r\n');
    world.client.repliesOff = true;
    expect(world.receive('PING\r\n').sent).toBe('+PONG\r\n');
    world.client.repliesOff = false;
    expect(world.receive('PING\r\n').sent).toBe('+PONG\r\n+PONG\r\n');
  });

  test('a QUIT that is not answered closes all the same', () => {
    const world = new World();
    world.client.repliesOff = true;
    expect(world.receive('QUIT\r\n').connection.state).toBe('ended');
    expect(world.sent).toBe('');
  });
});

describe('ends', () => {
  test('a protocol error is told after the replies to what came before, and ends the connection', () => {
    const world = new World().receive('SET a 1\r\n*x\r\nPING\r\n').receive('PING\r\n');
    expect(world.sent).toBe('');
    world.answer(0, OK);
    expect(world.sent).toBe('+OK\r\n-ERR Protocol error: invalid multibulk length\r\n');
    expect(world.connection.state).toBe('ended');
    world.receive('PING\r\n');
    expect(world.handler.started).toEqual(['SET a 1']);
  });

  test('QUIT is answered and closes, and nothing behind it is executed', () => {
    const world = new World().receive('SET a 1\r\nQUIT\r\nSET a 2\r\n*x\r\n').answer(0, OK);
    expect(world.sent).toBe('+OK\r\n+OK\r\n');
    expect(world.connection.state).toBe('ended');
    expect(world.handler.started).toEqual(['SET a 1', 'QUIT']);
  });

  test('a paused connection reads on when it ends, or it would not see the other side close', () => {
    const world = new World({ requestsMax: 1 }).receive('GET a\r\nGET a\r\nQUIT\r\n');
    expect(world.connection.paused).toBe(true);
    world.answer(0, null).answer(0, null);
    expect(world.connection.state).toBe('ended');
    expect(world.connection.paused).toBe(false);
  });

  test('a client that goes away costs no further request, and open ones are answered into nothing', () => {
    const world = new World().receive('SET a 1\r\nGET a\r\n');
    world.connection.close();
    world.answer(0, OK);
    expect(world.handler.started).toEqual(['SET a 1']);
    expect(world.sent).toBe('');
    expect(world.closed).toBe(1);
  });

  test('a client that has sent all it will is answered, and then closed', () => {
    const world = new World().receive('SET a 1\r\nGET a\r\n*2\r\n$3\r\n');
    world.connection.receiveEnd();
    expect(world.answer(0, OK).connection.state).toBe('open');
    world.answer(0, null);
    expect(world.sent).toBe('+OK\r\n$-1\r\n');
    expect(world.connection.state).toBe('ended');
  });

  test('a connection with nothing owed ends at once when the client or the server has finished', () => {
    const world = new World();
    world.subject.finish();
    world.clock.endTurns();
    expect(world.connection.state).toBe('ended');
  });

  test.each(['POST / HTTP/1.1\r\n', 'Host: example.org\r\n', '*1\r\n$4\r\npOsT\r\n'])(
    'the HTTP words close the connection without a reply: %j',
    (words) => {
      const world = new World().receive(`GET a\r\n${words}PING\r\n`);
      expect(world.connection.state).toBe('destroyed');
      expect(world.handler.started).toEqual(['GET a']);
      world.connection.close();
      expect(world.answer(0, null).sent).toBe('');
      expect(world.warnings).toHaveLength(1);
    },
  );

  test('a destroyed connection executes nothing more, and is gone at once', () => {
    const world = new World().receive('SET a 1\r\nGET a\r\n');
    world.subject.destroy();
    expect(world.closed).toBe(1);
    world.answer(0, OK);
    expect(world.handler.started).toEqual(['SET a 1']);
    expect(world.connection.state).toBe('destroyed');
  });
});

test('a client is described in the fields of CLIENT LIST', () => {
  const world = new World();
  world.clock.nowMs = 1500;
  world.receive('GET a\r\n*1\r\n$5\r\nab');
  const fields = new Map(
    describeClient(world.client, 3700)
      .split(' ')
      .map((field) => field.split('=') as [string, string]),
  );
  const expected = {
    id: '7',
    addr: '127.0.0.1:50000',
    laddr: '127.0.0.1:6379',
    name: '',
    age: '3',
    idle: '2',
    flags: 'N',
  };
  expect(Object.fromEntries(fields)).toMatchObject({
    ...expected,
    db: '0',
    qbuf: '10',
    resp: '2',
    user: 'default',
  });
  const names =
    'id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem multi-mem rbs rbp obl';
  expect([...fields.keys()].join(' ')).toBe(
    `${names} oll omem tot-mem events cmd user redir resp lib-name lib-ver`,
  );
});

test('its line shows what waits: of requests, in the buffer for replies, and beside it', () => {
  const world = new World();
  const fieldsOf = () => {
    const fields = describeClient(world.client, 0).split(' ');
    return Object.fromEntries(fields.map((field) => field.split('=') as [string, string]));
  };
  world.connection.window = 10;
  world.receive('PING\r\nPING\r\n');
  expect(fieldsOf()).toMatchObject({ obl: '0', oll: '1', omem: '4', events: 'rw' });
  world.receive('PING\r\n', `GET a\r\n*2\r\n$3\r\nGET`);
  expect(fieldsOf()).toMatchObject({ qbuf: '11', obl: '7', oll: '1', omem: '4' });
  expect(Number(fieldsOf()['argv-mem'])).toBeGreaterThan(0);
  world.client.queued = 2;
  world.client.queuedBytes = 700;
  world.client.subscriptions = { channels: 1, patterns: 2, shardChannels: 3 };
  world.client.noEvict = true;
  expect(fieldsOf()).toMatchObject({
    flags: 'Pxe',
    multi: '2',
    'multi-mem': '700',
    sub: '1',
    psub: '2',
    ssub: '3',
  });
});

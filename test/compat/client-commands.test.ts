/**
 * What clients do to each other: CLIENT KILL, CLIENT PAUSE, MONITOR. The same is done to hstore and to Redis 7.0, and both
 * give the same bytes, but for addresses, ids and times.
 */
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { Pair } from './pair.ts';
import { Talk } from './talk.ts';
import type { Step } from './wire.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await Pair.start();
}, 60_000);
afterAll(() => pair.end());

async function talk(port: number): Promise<Talk> {
  const one = await Talk.start(port);
  onTestFinished(() => one.destroy());
  return one;
}

/** Both servers give what `story` returns. */
async function expectSameStory(story: (port: number) => Promise<unknown>): Promise<unknown> {
  const [ours, theirs] = await Promise.all([story(pair.ports.hstore), story(pair.ports.redis)]);
  expect(ours).toEqual(theirs);
  return ours;
}

/** Asks again until the answer is as it should be; the test's own time limit is the bound. */
async function untilAnswer(ask: () => Promise<string>, wanted: RegExp): Promise<void> {
  let answer = await ask();
  while (!wanted.test(answer)) answer = await ask();
}

const idOf = async (client: Talk) => (await client.ask('CLIENT', 'ID')).slice(1, -2);

describe('CLIENT KILL', () => {
  test('ends the connection of another client, which is in no list any more', async () => {
    await expectSameStory(async (port) => {
      const [killer, victim, other] = [await talk(port), await talk(port), await talk(port)];
      const id = await idOf(victim);
      const answers = [await killer.ask('CLIENT', 'KILL', 'ID', id)];
      answers.push(await killer.ask('CLIENT', 'LIST', 'ID', id));
      await victim.end();
      answers.push(await killer.ask('CLIENT', 'KILL', other.address));
      await other.end();
      answers.push(await killer.ask('CLIENT', 'KILL', other.address), await killer.ask('PING'));
      return answers;
    });
  });

  test('spares who asks unless told otherwise, and answers before it ends its own connection', async () => {
    const story = async (port: number) => {
      const [killer, victim, suicide] = [await talk(port), await talk(port), await talk(port)];
      const answers = [
        await killer.ask('CLIENT', 'KILL', 'ADDR', killer.address),
        await killer.ask('CLIENT', 'KILL', 'ADDR', killer.address, 'SKIPME', 'yes'),
        await killer.ask('CLIENT', 'KILL', 'ADDR', victim.address, 'USER', 'default', 'TYPE', 'normal'),
      ];
      await victim.end();
      killer.send(
        ['ECHO', 'before'],
        ['CLIENT', 'KILL', 'ID', await idOf(killer), 'SKIPME', 'no'],
        ['ECHO', 'x'],
      );
      answers.push(...(await killer.replies(2)));
      await killer.end();
      answers.push(await suicide.ask('CLIENT', 'KILL', suicide.address));
      await suicide.end();
      return [answers, killer.received, suicide.received];
    };
    await expectSameStory(story);
  });

  test('frees the room for another client', async () => {
    await expectSameStory(async (port) => {
      const killer = await talk(port);
      const victim = await talk(port);
      const connected = /^connected_clients:(\d+)/m.exec(await killer.ask('INFO', 'clients'))![1]!;
      await killer.ask('CONFIG', 'SET', 'maxclients', connected);
      const refused = await talk(port);
      const [refusal] = await refused.replies(1);
      await refused.end();
      await killer.ask('CLIENT', 'KILL', 'ID', await idOf(victim));
      const admitted = await talk(port);
      const pong = await admitted.ask('PING');
      await killer.ask('CONFIG', 'SET', 'maxclients', '10000');
      return [refusal, pong];
    });
  });
});

describe('CLIENT UNBLOCK', () => {
  test('ends the wait of a client, as if its time were over or with an error', async () => {
    await expectSameStory(async (port) => {
      const [boss, waiter] = [await talk(port), await talk(port)];
      const id = await idOf(waiter);
      const answers: string[] = [];
      for (const reason of [[], ['TIMEOUT'], ['error']]) {
        waiter.send(['WAIT', '5', '0'], ['PING']);
        await untilAnswer(() => boss.ask('CLIENT', 'LIST', 'ID', id), / flags=b /);
        answers.push(/^blocked_clients:\d+/m.exec(await boss.ask('INFO', 'clients'))![0]);
        answers.push(await boss.ask('CLIENT', 'UNBLOCK', id, ...reason), ...(await waiter.replies(2)));
      }
      answers.push(await boss.ask('CLIENT', 'UNBLOCK', id), await boss.ask('INFO', 'nosuch'));
      return [answers, / flags=\S+/.exec(await boss.ask('CLIENT', 'LIST', 'ID', id))![0]];
    });
  });

  test('a client that waits can be killed, and is gone', async () => {
    await expectSameStory(async (port) => {
      const [boss, waiter] = [await talk(port), await talk(port)];
      const id = await idOf(waiter);
      waiter.send(['WAIT', '5', '0']);
      await untilAnswer(() => boss.ask('CLIENT', 'LIST', 'ID', id), / flags=b /);
      const killed = await boss.ask('CLIENT', 'KILL', 'ID', id);
      await waiter.end();
      return [killed, /^blocked_clients:\d+/m.exec(await boss.ask('INFO', 'clients'))![0], waiter.received];
    });
  });
});

describe('CLIENT PAUSE', () => {
  /** Which of the commands, each of a client of its own, are answered while the pause lasts. */
  async function answered(port: number, mode: string, commands: readonly Step[]): Promise<unknown[]> {
    const boss = await talk(port);
    const clients: Talk[] = [];
    for (const _ of commands) clients.push(await talk(port));
    await boss.ask('CLIENT', 'PAUSE', mode === 'ALL' ? '2000' : '100000', mode);
    for (const [i, command] of commands.entries()) clients[i]!.send(command);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const during = clients.map((client) => client.received);
    if (mode === 'WRITE') await boss.ask('CLIENT', 'UNPAUSE');
    const after = await Promise.all(clients.map(async (client) => (await client.replies(1))[0]));
    return [during, after];
  }

  const COMMANDS: readonly Step[] = [
    ['PING'],
    ['GET', 'a'],
    ['SET', 'a', '1'],
    ['SET', 'a'],
    ['NOSUCH'],
    ['SELECT', '1'],
    ['CLIENT', 'GETNAME'],
    ['FLUSHALL'],
    ['EXISTS', 'nothing'],
    ['CLIENT', 'UNPAUSE', 'x'],
    ['ECHO', 'x'],
  ];

  test('of writes lets all else pass, until CLIENT UNPAUSE', async () => {
    const [during] = (await expectSameStory((port) => answered(port, 'WRITE', COMMANDS))) as [string[]];
    expect(during.filter((reply) => reply === '').length).toBe(2);
  });

  test('of all commands lets only errors pass, for its time', async () => {
    const [during] = (await expectSameStory((port) => answered(port, 'ALL', COMMANDS))) as [string[]];
    expect(during.filter((reply) => reply !== '').length).toBe(3);
  });

  test('holds back CLIENT UNPAUSE too when it is of all commands', async () => {
    await expectSameStory(async (port) => {
      const [boss, other] = [await talk(port), await talk(port)];
      await boss.ask('CLIENT', 'PAUSE', '400', 'ALL');
      other.send(['CLIENT', 'UNPAUSE']);
      await new Promise((resolve) => setTimeout(resolve, 100));
      return [other.received, await other.replies(1)];
    });
  });

  test('keeps the order of a pipeline, and shows who waits', async () => {
    await expectSameStory(async (port) => {
      const [boss, client] = [await talk(port), await talk(port)];
      const id = await idOf(client);
      await boss.ask('CLIENT', 'PAUSE', '100000', 'WRITE');
      client.send(['SET', 'k', '1'], ['GET', 'k'], ['PING'], ['SET', 'k', '2'], ['GET', 'k'], ['DEL', 'k']);
      await untilAnswer(() => boss.ask('CLIENT', 'LIST', 'ID', id), / flags=b /);
      const before = client.received;
      await boss.ask('CLIENT', 'UNPAUSE');
      const replies = await client.replies(6);
      const flags = / flags=\S+/.exec(await boss.ask('CLIENT', 'LIST', 'ID', id))![0];
      return [before, replies, flags];
    });
  });

  test('of writes holds back a write that is to be queued, and an EXEC that would write', async () => {
    await expectSameStory(async (port) => {
      const [boss, early, late] = [await talk(port), await talk(port), await talk(port)];
      const before = await early.send(['MULTI'], ['SET', 'k', '1'], ['GET', 'k']).replies(3);
      await boss.ask('CLIENT', 'PAUSE', '100000', 'WRITE');
      early.send(['EXEC'], ['PING']);
      late.send(['MULTI'], ['GET', 'k'], ['SET', 'k', '2'], ['EXEC']);
      const during = await late.replies(2);
      const read = await boss.send(['MULTI'], ['GET', 'k'], ['EXEC']).replies(3);
      const heldBack = [early.received, late.received];
      await boss.ask('CLIENT', 'UNPAUSE');
      const after = [await early.replies(2), await late.replies(2), await boss.ask('DEL', 'k')];
      return [before, during, read, heldBack, after];
    });
  });

  test('can be made longer and stricter by another one, not shorter or milder', async () => {
    await expectSameStory(async (port) => {
      const [boss, client] = [await talk(port), await talk(port)];
      const answers = [await boss.ask('CLIENT', 'PAUSE', '100000', 'WRITE')];
      answers.push(await boss.ask('CLIENT', 'PAUSE', '1', 'WRITE'));
      client.send(['SET', 'k', '1']);
      await new Promise((resolve) => setTimeout(resolve, 200));
      answers.push(client.received, await boss.ask('CLIENT', 'UNPAUSE'));
      answers.push(...(await client.replies(1)), await boss.ask('DEL', 'k'));
      return answers;
    });
  });

  test('a client that waits and goes away leaves nothing behind', async () => {
    await expectSameStory(async (port) => {
      const [boss, client] = [await talk(port), await talk(port)];
      const id = await idOf(client);
      await boss.ask('CLIENT', 'PAUSE', '100000', 'WRITE');
      client.send(['SET', 'left', '1']);
      await untilAnswer(() => boss.ask('CLIENT', 'LIST', 'ID', id), / flags=b /);
      client.socket.resetAndDestroy();
      await untilAnswer(() => boss.ask('CLIENT', 'LIST', 'ID', id), /^\$0\r\n/);
      return [await boss.ask('CLIENT', 'UNPAUSE'), await boss.ask('GET', 'left')];
    });
  });
});

describe('MONITOR', () => {
  /** Lines without their times and ports. */
  const plain = (lines: readonly string[]) =>
    lines.map((line) => line.replace(/^\+\d{10}\.\d{6} \[(\d+) 127\.0\.0\.1:\d+\]/, '+TIME [$1 ADDRESS]'));

  /** What a monitor sees of the steps; the last of them is an ECHO, by which it knows the end. */
  async function watch(port: number, ...steps: Step[]): Promise<string[]> {
    const [monitor, client] = [await talk(port), await talk(port)];
    const lines = await monitor.send(['MONITOR']).replies(1);
    client.send(...steps, ['ECHO', 'the end']);
    while (!lines.at(-1)!.includes('"the end"')) lines.push(...(await monitor.replies(1)));
    // A line tells that a command has started. What is left of it must not be in the way of the next test.
    await client.replies(steps.length + 1);
    return plain(lines);
  }

  test('shows each command, quoted so that bytes can be read back', async () => {
    const bytes = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte)).join('');
    const lines = await expectSameStory((port) =>
      watch(port, ['set', 'k', bytes], 'GET k\r\n', ['Get', 'k', ''], ['GET', ''], ['DEL', 'k'], ['PING']),
    );
    expect(lines).toContain('+TIME [0 ADDRESS] "PING"\r\n');
  });

  test('shows neither what is refused at the door nor what is for administrators', async () => {
    const steps: Step[] = [
      ['NOSUCH'],
      ['GET'],
      ['CLIENT', 'NOSUCH'],
      ['CONFIG', 'GET', 'port'],
      ['CLIENT', 'LIST'],
      ['CLIENT', 'ID'],
      ['CLIENT', 'REPLY', 'x'],
      ['CLIENT', 'KILL', '1.2.3.4:5'],
      ['COMMAND', 'COUNT'],
      ['SET', 'k', '1', 'NX', 'XX'],
      ['INFO', 'nosuch'],
      ['HELLO', '3'],
      ['HELLO', '2', 'SETNAME', 'x'],
    ];
    expect(await expectSameStory((port) => watch(port, ...steps))).toHaveLength(9);
  });

  test('shows the database in which a command has run, and SELECT in the one it chose', async () => {
    await expectSameStory((port) =>
      watch(port, ['SELECT', '3'], ['GET', 'k'], ['SELECT', '99'], ['RESET'], ['PING']),
    );
  });

  test('shows what MULTI has queued when EXEC carries it out, and EXEC behind it', async () => {
    const lines = (await expectSameStory((port) =>
      watch(
        port,
        ['MULTI'],
        ['SET', 'k', '1'],
        ['PING'],
        ['NOSUCH'],
        ['DISCARD'],
        ['MULTI'],
        ['GET', 'k'],
        ['EXEC'],
      ),
    )) as string[];
    expect(lines.slice(3, 6).map((line) => line.split('] ')[1])).toEqual([
      '"MULTI"\r\n',
      '"GET" "k"\r\n',
      '"EXEC"\r\n',
    ]);
  });

  test('shows no password', async () => {
    const steps: Step[] = [
      ['AUTH', 'secret'],
      ['AUTH', 'default', 'secret'],
      ['HELLO', '2', 'AUTH', 'default', 'secret'],
      ['HELLO', '3', 'SETNAME', 'n', 'auth', 'nobody', 'secret'],
    ];
    const lines = (await expectSameStory((port) => watch(port, ...steps))) as string[];
    expect(lines.join('')).not.toContain('secret');
    // Redis shows it where a command is refused before it comes to the password.
    const refused = await watch(
      pair.ports.hstore,
      ['AUTH', 'a', 'secret', 'c'],
      ['HELLO', '4', 'AUTH', 'a', 'secret'],
    );
    expect(refused.join('')).not.toContain('secret');
  });

  test('one who monitors is told of its own commands too, behind their replies, and may not touch keys', async () => {
    await expectSameStory(async (port) => {
      const monitor = await talk(port);
      monitor.send(
        ...[['MONITOR'], ['PING'], ['GET', 'k'], ['SET', 'k', '1'], ['MONITOR'], ['SELECT', '1'], ['DBSIZE']],
        ...[['CLIENT', 'GETNAME'], ['RESET'], ['GET', 'k'], ['PING']],
      );
      return plain(await monitor.replies(13));
    });
  });

  test('ends with RESET, and with the connection', async () => {
    await expectSameStory(async (port) => {
      const [monitor, quitter, client] = [await talk(port), await talk(port), await talk(port)];
      const flagsOf = async (one: Talk) => {
        const id = await idOf(one);
        return async () => / flags=\S+/.exec(await client.ask('CLIENT', 'LIST', 'ID', id))?.[0];
      };
      const flags = await flagsOf(monitor);
      const seen = [await monitor.ask('MONITOR'), await quitter.ask('MONITOR'), await flags()];
      await client.ask('ECHO', 'x');
      seen.push(
        ...plain(await monitor.replies(1)),
        await quitter
          .send(['QUIT'])
          .replies(2)
          .then((all) => all[1]),
      );
      await quitter.end();
      seen.push(...plain(await monitor.replies(1)), await monitor.ask('RESET'), await flags());
      await client.ask('ECHO', 'unseen');
      return [seen, monitor.received, await monitor.ask('PING')];
    });
  });

  test('one who has asked for silence gets nothing', async () => {
    await expectSameStory(async (port) => {
      const [monitor, client] = [await talk(port), await talk(port)];
      await monitor.ask('MONITOR');
      monitor.send(['CLIENT', 'REPLY', 'OFF'], ['ECHO', 'x']);
      await untilAnswer(() => client.ask('CLIENT', 'LIST'), / cmd=echo /);
      await client.ask('PING');
      return [await monitor.ask('CLIENT', 'REPLY', 'ON')];
    });
  });
});

test('CLIENT LIST shows who is in a transaction, and how much is queued', async () => {
  await expectSameStory(async (port) => {
    const [client, boss] = [await talk(port), await talk(port)];
    const id = await idOf(client);
    const fields: (string | undefined)[] = [];
    const look = async () => {
      const line = await boss.ask('CLIENT', 'LIST', 'ID', id);
      fields.push(/ flags=\S+/.exec(line)?.[0], / multi=\S+/.exec(line)?.[0], / cmd=\S+/.exec(line)?.[0]);
    };
    await look();
    await client.send(['MULTI']).replies(1);
    await look();
    await client.send(['GET', 'k'], ['PING']).replies(2);
    await look();
    await client.send(['NOSUCH'], ['EXEC']).replies(2);
    await look();
    await client.ask('GET');
    await look();
    await client.ask('NOSUCH');
    await look();
    return fields;
  });
});

test('CLIENT LIST by type finds who monitors among the normal ones', async () => {
  await expectSameStory(async (port) => {
    const [monitor, client] = [await talk(port), await talk(port)];
    await monitor.ask('MONITOR');
    const types = ['normal', 'pubsub', 'replica', 'master'];
    const lists: string[] = [];
    for (const type of types) lists.push(await client.ask('CLIENT', 'LIST', 'TYPE', type));
    return lists.map((list) => list.includes(' flags=O '));
  });
});

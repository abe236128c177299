/** What a job hears of the servers of a cluster that answer by a script, go, or hang. */
import { afterEach, expect, test } from 'vitest';
import { connectServers, type JobServers, type Patience } from '../../src/cli/mapreduce-servers.ts';
import { ConfigError } from '../../src/lib/errors.ts';
import { type Script, ScriptedServer, SILENT } from '../client/scripted-server.ts';

/** One attempt takes half a second at most. */
const PATIENCE: Patience = { attemptsMs: 1000, silenceMs: 1500, submitMs: 2000 };

const listening: ScriptedServer[] = [];
const connected: JobServers[] = [];
afterEach(() => {
  for (const each of connected.splice(0)) each.close();
  for (const server of listening.splice(0)) server.stop();
});

async function startServer(script: Script): Promise<ScriptedServer> {
  const server = await new ScriptedServer(script).start();
  listening.push(server);
  return server;
}

async function connectTo(
  servers: readonly ScriptedServer[],
  patience = PATIENCE,
  password?: string,
): Promise<JobServers> {
  const nodes = servers.map(({ port }) => `127.0.0.1:${port}`);
  const found = await connectServers({ nodes, password, tls: undefined }, patience);
  connected.push(found);
  return found;
}

test('bulk strings come as bytes, numbers as numbers, and errors with their code', async () => {
  const server = await startServer((name) => {
    if (name === 'mr.submit') return ':7\r\n';
    if (name === 'mr.status') return '*4\r\n$5\r\nstate\r\n$4\r\ndone\r\n$4\r\nmaps\r\n:3\r\n';
    if (name === 'mr.result') return '$-1\r\n';
    return name.startsWith('mr.') ? '-ERR there is no job 9\r\n' : undefined;
  });
  const servers = await connectTo([server]);
  expect(servers.local).toBe(true);
  expect(await servers.submit(['MR.SUBMIT', 'wc', 'KEYS', '*'])).toEqual({ told: 'reply', reply: 7 });
  expect(await servers.ask(['MR.STATUS', 7])).toEqual({
    ...{ told: 'reply', reply: [Buffer.from('state'), Buffer.from('done'), Buffer.from('maps'), 3] },
  });
  expect(await servers.ask(['MR.RESULT', 7, 'PART', 0, 'CHUNK', 9])).toEqual({ told: 'reply', reply: null });
  expect(await servers.ask(['MR.PURGE', 9])).toEqual({ told: 'error', message: 'ERR there is no job 9' });
});

test('a job goes on at another server when its own is gone, or cannot answer now', async () => {
  const asked: string[] = [];
  // Whoever is asked first is gone in the middle of it; whoever is asked then does not know a leader yet.
  const script = (which: number): Script => {
    return (name) => {
      if (name !== 'mr.status') return undefined;
      asked.push(`${which}`);
      if (asked.length === 1) {
        listening[which]!.stop();
        return SILENT;
      }
      return asked.length === 2 ? '-CLUSTERDOWN nobody coordinates the jobs now\r\n' : '+fine\r\n';
    };
  };
  const servers = await connectTo([await startServer(script(0)), await startServer(script(1))]);
  const told = await servers.ask(['MR.STATUS', 7]);
  expect(told).toEqual({ told: 'reply', reply: Buffer.from('fine') });
  expect(asked).toHaveLength(3);
  expect(asked[1]).not.toBe(asked[0]);
});

test('a submission is sent again, the same with its token, when its answer is lost', async () => {
  const submitted: string[] = [];
  const script: Script = (name, argv) => {
    if (name !== 'mr.submit') return undefined;
    submitted.push(argv.join(' '));
    return submitted.length === 1 ? '-TIMEOUT the outcome is unknown\r\n' : ':7\r\n';
  };
  const servers = await connectTo([await startServer(script), await startServer(script)]);
  const words = ['MR.SUBMIT', 'wc', 'KEYS', '*', 'TOKEN', 't'];
  expect(await servers.submit(words)).toEqual({ told: 'reply', reply: 7 });
  expect(submitted).toEqual([words.join(' '), words.join(' ')]);
});

test('when no server answers for long, that is told, with what was wrong', async () => {
  const server = await startServer((name) =>
    name.startsWith('mr.') ? '-CLUSTERDOWN no majority\r\n' : undefined,
  );
  const servers = await connectTo([server], { attemptsMs: 300, silenceMs: 500, submitMs: 300 });
  const nothing = { told: 'nothing', message: 'CLUSTERDOWN no majority' };
  expect(await servers.ask(['MR.STATUS', 7])).toEqual(nothing);
  expect(await servers.submit(['MR.SUBMIT', 'wc', 'KEYS', '*'])).toEqual(nothing);
});

test('servers that are on other machines are known as such', async () => {
  const member = 'id1 192.0.2.7:7000@17000 master - 0 0 1 connected\n';
  const server = await startServer((name) =>
    name === 'cluster' ? `$${member.length}\r\n${member}\r\n` : undefined,
  );
  expect((await connectTo([server])).local).toBe(false);
});

test('servers that cannot be reached, and those that want a password, are told apart', async () => {
  const gone = await startServer(() => undefined);
  gone.stop();
  await expect(connectTo([gone], { ...PATIENCE, attemptsMs: 300 })).rejects.toThrow(
    /^none of 127\.0\.0\.1:\d+ can be reached: connect ECONNREFUSED/,
  );
  const closed = await startServer((name) => {
    if (name === 'auth') return '-WRONGPASS invalid username-password pair or user is disabled.\r\n';
    return '-NOAUTH Authentication required.\r\n';
  });
  const advice = 'give theirs in REDISCLI_AUTH or with --password';
  await expect(connectTo([closed])).rejects.toThrow(
    new ConfigError(`the servers ask for a password: ${advice}`),
  );
  await expect(connectTo([closed], PATIENCE, 'wrong')).rejects.toThrow(
    new ConfigError(`the servers refuse the password: ${advice}`),
  );
});

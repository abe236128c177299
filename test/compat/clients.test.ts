/**
 * Clients as their users have them, against each server of a real cluster of three: the modes of redis-cli, the options of
 * ioredis, redis-benchmark in both protocols, a bare socket.
 */
import { spawnSync } from 'node:child_process';
import { connect } from 'node:net';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ProcessCluster } from '../e2e/processes.ts';
import { encode } from './wire.ts';

let cluster: ProcessCluster;
beforeAll(async () => {
  cluster = await ProcessCluster.start(3);
}, 60_000);
afterAll(() => cluster.end());

interface Run {
  readonly output: string;
  readonly status: number | null;
}

/** Runs a program until it ends, or until it is told to after `endAfterMs`. */
function run(program: string, args: readonly string[], input = '', endAfterMs = 15_000): Run {
  const options = { input: Buffer.from(input, 'latin1'), timeout: endAfterMs, maxBuffer: 1 << 26 };
  const done = spawnSync(program, args, options);
  const { error } = done;
  if (error !== undefined && (error as NodeJS.ErrnoException).code !== 'ETIMEDOUT') throw error;
  return { output: done.stdout.toString('latin1') + done.stderr.toString('latin1'), status: done.status };
}

describe.each([0, 1, 2])('server %i', (i) => {
  const port = () => cluster.servers[i]!.port;
  const redisCli = (args: readonly string[], input?: string, endAfterMs?: number) =>
    run('redis-cli', ['-p', `${port()}`, ...args], input, endAfterMs);

  test('redis-cli reads the whole table when it starts, then the commands of its standard input', () => {
    const input = 'set cli "a b"\nget cli\nincr\nnonsense x\nselect 0\nmget cli missing\nhelp get\n';
    const { output, status } = redisCli([], input);
    expect(status).toBe(0);
    expect(output).toContain("OK\na b\nERR wrong number of arguments for 'incr' command\n");
    expect(output).toContain("ERR unknown command 'nonsense', with args beginning with: 'x' \n");
    expect(output).toContain('\nOK\na b\n\n');
    // From COMMAND DOCS.
    expect(output).toMatch(/summary:.* Get the value of a key/);
  });

  test('redis-cli -3 shows maps as maps', () => {
    expect(redisCli(['-3', 'config', 'get', 'timeout']).output).toBe('timeout 0\n');
    expect(redisCli(['-3', '--no-raw', 'config', 'get', 'timeout']).output).toBe('1# "timeout" => "0"\n');
    expect(redisCli(['-3', '--no-raw', 'get', 'missing']).output).toBe('(nil)\n');
    expect(redisCli(['-3', 'info', 'cluster']).output).toBe('# Cluster\r\ncluster_enabled:1\r\n');
    expect(redisCli(['-3', 'client', 'info']).output).toContain(' resp=3 ');
  });

  test('redis-cli --stat prints a line every second', () => {
    // It ends when it is told to; without stdbuf what it has printed would be lost then.
    const { output } = run('stdbuf', ['-oL', 'redis-cli', '-p', `${port()}`, '--stat'], '', 2600);
    const [, header, ...lines] = output.trim().split('\n');
    expect(header).toMatch(/^keys +mem +clients +blocked +requests +connections/);
    expect(lines.length).toBeGreaterThanOrEqual(2);
    for (const line of lines) expect(line).toMatch(/^\d+ +\d+\.\d+M +\d+ +0 +\d+ \(\+\d+\) +\d+/);
    expect(output).not.toContain('ERR');
  });

  test('redis-cli --latency measures', () => {
    const [, min, max, average, count] =
      /^(\d+) (\d+) (\d+\.\d+) (\d+)\n$/.exec(redisCli(['--latency']).output) ?? [];
    expect([min, max, average, count]).not.toContain(undefined);
    expect(Number(count)).toBeGreaterThan(10);
  });

  test.each(['RESP', 'inline'])('redis-cli --pipe loads ten thousand commands, %s', (form) => {
    const commands = Array.from({ length: 10_000 }, (_, n) => [
      'SET',
      `pipe:${form}:${i}:${n}`,
      `value ${n}`,
    ]);
    const inline = ([name, key, value]: readonly string[]) => `${name} ${key} "${value}"\r\n`;
    const { output, status } = redisCli(
      ['--pipe'],
      commands.map(form === 'inline' ? inline : encode).join(''),
    );
    expect(output).toContain('errors: 0, replies: 10000');
    expect(status).toBe(0);
    expect(redisCli(['get', `pipe:${form}:${i}:9999`]).output).toBe('value 9999\n');
  });

  test('redis-cli --pipe counts errors', () => {
    const { output } = redisCli(['--pipe'], 'SET piped 1\r\nNOSUCH\r\nINCR piped\r\nSET piped\r\n');
    expect(output).toContain('errors: 2, replies: 4');
  });

  test.each([
    ['RESP2', []],
    ['RESP3', ['-3']],
  ])(
    'redis-benchmark with pipelines, %s',
    (_, flags) => {
      const args = [
        '-p',
        `${port()}`,
        '-t',
        'ping,set,get,incr,mset',
        '-n',
        '4000',
        '-P',
        '16',
        '-c',
        '50',
        '-q',
        ...flags,
      ];
      const { output, status } = run('redis-benchmark', args, '', 60_000);
      expect(status, output).toBe(0);
      expect(output.split(/[\r\n]+/).filter((line) => line.includes('requests per second')).length).toBe(6);
      expect(output).not.toMatch(/error|warning/i);
    },
    70_000,
  );

  test.each([2, 3] as const)(
    'ioredis with all the options that it sends something for, RESP%i',
    async (protocol) => {
      const admin = new Redis(port());
      await admin.config('SET', 'requirepass', 'secret');
      const redis = new Redis(port(), {
        ...{
          protocol,
          password: 'secret',
          username: 'default',
          db: 0,
          connectionName: 'compat:test=1',
          keyPrefix: 'prefix:',
          readOnly: true,
        },
        maxRetriesPerRequest: 0,
      });
      try {
        await redis.set('key', 'value');
        expect(await redis.get('key')).toBe('value');
        expect(await admin.get('prefix:key')).toBe('value');
        expect(await redis.client('GETNAME')).toBe('compat:test=1');
        const line = String(await redis.client('INFO'));
        expect(line).toMatch(
          / name=compat:test=1 .* user=default .* lib-name=ioredis\S* lib-ver=\d+\.\d+\.\d+/,
        );
        expect(line).toContain(` resp=${protocol} `);
        expect(String(await admin.client('LIST'))).toContain(line.replace(/ age=.*/s, ''));
        const wrong = new Redis(port(), {
          password: 'wrong',
          maxRetriesPerRequest: 0,
          retryStrategy: () => null,
        });
        wrong.on('error', () => {});
        await expect(wrong.get('key')).rejects.toThrow();
        wrong.disconnect();
      } finally {
        await admin.config('SET', 'requirepass', '');
        redis.disconnect();
        admin.disconnect();
      }
    },
  );

  test('a socket that ends its side gets the replies it is owed, then the end', async () => {
    const socket = connect({ port: port(), host: '127.0.0.1', allowHalfOpen: true });
    let received = '';
    socket.on('data', (data) => {
      received += data.toString('latin1');
    });
    const ended = new Promise((resolve) => void socket.once('end', resolve));
    const steps = [
      ['SET', 'half', `${i}`],
      ['APPEND', 'half', 'x'],
      ['GET', 'half'],
      'PING\r\n',
      '*1\r\n$4\r\nPI',
    ];
    socket.end(steps.map(encode).join(''), 'latin1');
    await ended;
    expect(received).toBe(`+OK\r\n:2\r\n$2\r\n${i}x\r\n+PONG\r\n`);
    socket.destroy();
  });
});

test('the states of all servers are equal at the end', async () => {
  await cluster.agree();
});

/**
 * The modes of redis-cli that are more than one command, each against a server of a real cluster of three: the programs by
 * which people look at a Redis.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { ProcessCluster, until } from '../e2e/processes.ts';

const KEYS = [
  ['short', 'x'],
  ['long', 'y'.repeat(3000)],
  ['user:1', 'a'],
  ['user:2', 'bb'],
];
const WAIT_MS_MAX = 10_000;

let cluster: ProcessCluster;
beforeAll(async () => {
  cluster = await ProcessCluster.start(3);
  redisCli(0, 'mset', ...KEYS.flat());
}, 60_000);
afterAll(() => cluster.end());

interface Run {
  readonly output: string;
  readonly errors: string;
  readonly status: number | null;
}

function run(...args: string[]): Run {
  const done = spawnSync('redis-cli', args, { timeout: 15_000 });
  if (done.error !== undefined) throw done.error;
  return { output: done.stdout.toString(), errors: done.stderr.toString(), status: done.status };
}

function redisCli(i: number, ...args: string[]): Run {
  return run('-p', `${cluster.servers[i]!.port}`, ...args);
}

/** A program that runs until the test ends, and what it has written so far. */
function start(program: string, args: readonly string[]): { child: ChildProcess; output: () => string } {
  const child = spawn(program, args, { env: { ...process.env, TERM: 'xterm' } });
  let output = '';
  child.stdout.on('data', (data: Buffer) => {
    output += data.toString('latin1');
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  return { child, output: () => output };
}

describe.each([0, 1, 2])('server %i', (i) => {
  const port = () => `${cluster.servers[i]!.port}`;

  test('--bigkeys finds the biggest value of every type, and counts', () => {
    const { output, status } = redisCli(i, '--bigkeys');
    expect(status).toBe(0);
    expect(output).toContain(
      'Sampled 4 keys in the keyspace!\nTotal key length in bytes is 21 (avg len 5.25)',
    );
    expect(output).toContain(`Biggest string found '"long"' has 3000 bytes`);
    expect(output).toContain('4 strings with 3004 bytes (100.00% of keys, avg size 751.00)');
    expect(output).toContain('0 lists with 0 items');
  });

  test('--memkeys does the same by memory', () => {
    const { output, status } = redisCli(i, '--memkeys');
    expect(status).toBe(0);
    const [, biggest] = /Biggest string found '"long"' has (\d+) bytes/.exec(output) ?? [];
    expect(Number(biggest)).toBeGreaterThan(3000);
    expect(Number(biggest)).toBeLessThan(6000);
    const [, total] = /4 strings with (\d+) bytes \(100.00% of keys/.exec(output) ?? [];
    expect(Number(total)).toBeGreaterThan(Number(biggest));
  });

  test('--hotkeys is told that accesses are not counted', () => {
    const { errors, status } = redisCli(i, '--hotkeys');
    expect(errors).toBe(
      'Error: ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching ' +
        'between policies at runtime LRU and LFU data will take some time to adjust.\n',
    );
    expect(status).toBe(1);
  });

  test.each([
    [['--scan'], ['long', 'short', 'user:1', 'user:2']],
    [
      ['--scan', '--pattern', 'user:*'],
      ['user:1', 'user:2'],
    ],
    [
      ['--scan', '--pattern', '*[gt]'],
      ['long', 'short'],
    ],
    [
      ['--scan', '--quoted-pattern', '"\\x75ser:?"'],
      ['user:1', 'user:2'],
    ],
    [['--scan', '--pattern', 'nosuch'], []],
    [['-3', '--scan', '--pattern', 'l*'], ['long']],
    [['-n', '5', '--scan'], []],
  ])('%j lists the keys', (args, keys) => {
    const { output, status } = redisCli(i, ...args);
    expect(output.split('\n').filter(Boolean).sort()).toEqual(keys);
    expect(status).toBe(0);
  });

  test('--latency-dist draws what it has measured, line by line', async () => {
    const { output } = start('stdbuf', ['-oL', 'redis-cli', '-p', port(), '--latency-dist', '-i', '0.2']);
    await until(() => output().split('\x1b[0m\n').length > 3, WAIT_MS_MAX);
    expect(output()).toContain('. - * #          .01 .125 .25 .5 milliseconds');
    expect(output()).not.toMatch(/err/i);
  });

  test('MONITOR shows what the server is sent, as redis-cli can read it back', async () => {
    const { child, output } = start('redis-cli', ['-p', port(), 'monitor']);
    await until(() => output() === 'OK\n', WAIT_MS_MAX);
    redisCli(i, 'set', 'seen', 'a "b"\t\\ \u00e9');
    redisCli(i, '-n', '3', 'get', 'seen');
    redisCli(i, 'del', 'seen');
    await until(() => output().includes('"del"'), WAIT_MS_MAX);
    child.kill();
    const lines = output().split('\n').slice(1, -1);
    for (const line of lines) expect(line).toMatch(/^\d{10}\.\d{6} \[\d+ 127\.0\.0\.1:\d+\] "/);
    expect(lines.map((line) => line.replace(/^\S+ \[(\d+) \S+\]/, '$1'))).toEqual([
      '0 "set" "seen" "a \\"b\\"\\t\\\\ \\xc3\\xa9"',
      '3 "SELECT" "3"',
      '3 "get" "seen"',
      '0 "del" "seen"',
    ]);
  });

  test('on a terminal it hints at the arguments while they are typed', async () => {
    // It asks a terminal without a width for one, and waits.
    const command = `stty cols 100; exec redis-cli -p ${port()}`;
    const { child, output } = start('script', ['-qec', command, '/dev/null']);
    await until(() => output().includes(`127.0.0.1:${port()}> `), WAIT_MS_MAX);
    child.stdin!.write('getrange ');
    // From COMMAND DOCS.
    await until(() => output().includes('key start end'), WAIT_MS_MAX);
    child.stdin!.write('short 0 0\r');
    await until(() => output().includes('"x"'), WAIT_MS_MAX);
    child.stdin!.write('config set ');
    await until(() => output().includes('parameter value'), WAIT_MS_MAX);
  });

  test('help knows what COMMAND DOCS tells', () => {
    expect(redisCli(i, 'help', 'getrange').output).toContain('Get a substring of the string stored at a key');
    expect(redisCli(i, 'help', '@transactions').output).toContain('DISCARD');
  });

  test('INFO tells of each command how often it was called, and how long it took', () => {
    redisCli(i, 'config', 'resetstat');
    for (let n = 0; n < 5; n++) redisCli(i, 'getrange', 'short', '0', '0');
    redisCli(i, 'getrange', 'short', '0', 'x');
    redisCli(i, 'getrange', 'short');
    const { output } = redisCli(i, 'info', 'commandstats');
    const counts = /^cmdstat_getrange:calls=(\d+),usec=(\d+),usec_per_call=([\d.]+),(\S+)\r$/m;
    const [, calls, usec, perCall, refused] = counts.exec(output) ?? [];
    expect([calls, refused]).toEqual(['6', 'rejected_calls=1,failed_calls=1']);
    expect(Number(perCall)).toBeCloseTo(Number(usec) / 6, 0);
    expect(redisCli(i, 'info', 'latencystats').output).toMatch(
      /^latency_percentiles_usec_getrange:p50=[\d.]+,p99=[\d.]+,p99\.9=[\d.]+\r$/m,
    );
    expect(redisCli(i, 'info', 'errorstats').output).toContain('errorstat_ERR:count=2');
  });

  test('--cluster info, check and call find all servers and no fault', () => {
    const address = `127.0.0.1:${port()}`;
    const info = run('--cluster', 'info', address);
    expect(info.output).toMatch(/^127\.0\.0\.1:\d+ \(\S+\) -> 4 keys \| 16384 slots \| 2 slaves\.\n/);
    expect(info.status).toBe(0);
    const check = run('--cluster', 'check', address);
    expect(check.output).toContain('[OK] All nodes agree about slots configuration.');
    expect(check.output).toContain('[OK] All 16384 slots covered.');
    expect(check.output).not.toMatch(/ERR|WARNING/);
    expect(check.status).toBe(0);
    const call = run('--cluster', 'call', address, 'get', 'user:2');
    expect(call.output.split('\n').filter((line) => line.endsWith(': bb'))).toHaveLength(3);
  });

  test('-c needs no redirection', () => {
    expect(redisCli(i, '-c', 'set', 'anywhere', '1').output).toBe('OK\n');
    expect(redisCli(i, '-c', 'del', 'anywhere').output).toBe('1\n');
  });

  test.each([[['--rdb', '/dev/null']], [['--replica']]])(
    '%j is refused: there is no dump to be had',
    (args) => {
      const { output, errors, status } = redisCli(i, ...args);
      expect(output + errors).toContain("SYNC with master failed: -ERR unknown command 'SYNC'");
      expect(status).toBe(1);
    },
  );
});

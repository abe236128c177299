import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  type ClusterOrder,
  type LocalOrder,
  readJobOrder,
  withStandardInput,
} from '../../src/cli/mapreduce-settings.ts';
import { readServerSettings } from '../../src/cli/settings.ts';
import { ConfigError } from '../../src/lib/errors.ts';
import { temporaryDirectory } from '../io/temporary.ts';

const MB = 1024 ** 2;
const WC: LocalOrder = {
  cluster: undefined,
  ...{ job: { kind: 'builtin', name: 'wc' }, args: {}, inputs: ['a'] },
  ...{
    reducers: undefined,
    workers: undefined,
    memoryBytes: 64 * MB,
    splitBytes: undefined,
    sequential: false,
  },
  output: { kind: 'stream', by: 'key', top: undefined },
};

const STORED = 'stored keys are in a cluster: name its servers with --nodes HOST:PORT,...';

describe('the arguments', () => {
  test.each<[string[], Partial<LocalOrder>]>([
    [['wc', 'a'], {}],
    [['wc'], { inputs: [] }],
    [['wc', 'a', '-', 'b'], { inputs: ['a', '-', 'b'] }],
    [['wc', '--reduces', '3', 'a', '--workers=2'], { reducers: 3, workers: 2 }],
    [['--reduces', '10000', 'wc', 'a'], { reducers: 10_000 }],
    [['wc', 'a', '--memory', '16mb', '--split', '1mb'], { memoryBytes: 16 * MB, splitBytes: MB }],
    [['wc', 'a', '--top', '7', '--sort', 'count'], { output: { kind: 'stream', by: 'count', top: 7 } }],
    [['wc', '--sequential', 'a'], { sequential: true }],
    [
      ['wc', 'a', '--out', 'd', '--force'],
      { output: { kind: 'directory', path: resolve('d'), force: true } },
    ],
    [
      ['grep', 'a+', 'b', '--arg', 'x=1', '--arg', 'y=a=b'],
      {
        ...{ job: { kind: 'builtin', name: 'grep' }, inputs: ['b'] },
        args: { pattern: 'a+', x: '1', y: 'a=b' },
      },
    ],
    [
      ['grep', '--', '--help', '-x'],
      { job: { kind: 'builtin', name: 'grep' }, inputs: ['-x'], args: { pattern: '--help' } },
    ],
  ])('%j are understood', (args, order) => {
    expect(readJobOrder(args, {})).toEqual({ ...WC, ...order });
  });

  test.each([
    [['wd', 'a'], "unknown job 'wd': did you mean 'wc'?"],
    [['book.txt'], "unknown job 'book.txt': jobs are wc, ii, grep, sort, or a path such as ./job.js"],
    [['./nope.js', 'a'], 'there is no job ./nope.js'],
    [
      ['wc', '--reduces', '0', 'a'],
      "invalid value '0' for --reduces: argument must be between 1 and 10000 inclusive",
    ],
    [
      ['wc', '--reduces', '10001', 'a'],
      "invalid value '10001' for --reduces: argument must be between 1 and 10000 inclusive",
    ],
    [['wc', '--memory', 'lots', 'a'], "invalid value 'lots' for --memory: argument must be a memory value"],
    [['wc', '--reduce', '2'], 'unknown flag --reduce: did you mean --reduces?'],
    [['wc', '-x', 'a'], "unexpected argument '-x'"],
    [['wc', 'a', '--top'], '--top needs a value'],
    [['wc', 'a', '--force'], '--force is for the directory that --out names'],
    [['wc', 'a', '--arg', 'x'], "--arg takes NAME=VALUE, not 'x'"],
    [['wc', '-', '-'], 'standard input (-) can be read once only'],
    [['sort', 'a', '--sort', 'count'], '--sort count: sort counts nothing'],
    [
      ['wc', 'a', '--out', 'd', '--top', '3'],
      '--top is for standard output: each part in --out is in the order of its keys',
    ],
    [['wc', 'keys:*'], `keys:*: ${STORED} (a file of this name is ./keys:*)`],
    [['wc', 'a', '--out', 'keys:x'], `--out keys:x: ${STORED} (a directory of this name is ./keys:x)`],
    [['wc', 'a', '--password', 'x'], '--password is for servers: name them with --nodes'],
    [['wc', 'a', '--tls'], '--tls is for servers: name them with --nodes'],
  ])('%j are refused', (args, message) => {
    expect(() => readJobOrder(args, {})).toThrow(new ConfigError(message));
  });

  test('without a job, or without a pattern, are answered with examples', () => {
    for (const args of [[], ['grep']]) {
      expect(() => readJobOrder(args, {})).toThrow(/for example:\n {2}hstore .*\n {2}.*hstore /);
    }
  });

  test('with a pattern that is no regular expression are refused before any work', () => {
    expect(() => readJobOrder(['grep', '(', 'a'], {})).toThrow(
      /^grep cannot use the pattern: .*Unterminated group/,
    );
  });
});

test("a job of the user's own is known by its absolute path and its content", () => {
  const path = join(temporaryDirectory(), 'job.mjs');
  writeFileSync(path, 'export function map() {}');
  const sha256 = createHash('sha256').update('export function map() {}').digest('hex');
  expect(readJobOrder([path, 'a'], {}).job).toEqual({ kind: 'module', path, sha256 });
});

test('flags win over the environment, and that over the file', () => {
  const file = join(temporaryDirectory(), 'job.conf');
  writeFileSync(file, 'reduces 5\nworkers 5\nsplit 5mb\n');
  const args = ['wc', 'a', '--config', file, '--reduces', '7'];
  const order = readJobOrder(args, { HSTORE_REDUCES: '6', HSTORE_WORKERS: '6' }) as LocalOrder;
  expect([order.reducers, order.workers, order.splitBytes]).toEqual([7, 6, 5 * MB]);
});

test('what servers are told through the environment is nothing to a job, and the other way round', () => {
  const servers = {
    HSTORE_PORT: '7000',
    HSTORE_CLUSTER: 'n1=a:1',
    HSTORE_CONFIG: '/etc/hstore.conf',
    HSTORE_DIR: 'x',
    HSTORE_NODES: '5',
    HSTORE_TLS_CA_CERT_FILE: '/etc/ca.pem',
  };
  expect(readJobOrder(['wc', 'a'], servers)).toEqual(WC);
  const jobs = {
    HSTORE_SORT: 'count',
    HSTORE_OUT: 'x',
    HSTORE_TOP: '1',
    HSTORE_REDUCES: '2',
    HSTORE_SPLIT: '1mb',
  };
  expect(() => readServerSettings([], jobs)).not.toThrow();
  expect(() => readJobOrder(['wc', 'a'], { HSTORE_REDUCE: '2' })).toThrow('did you mean HSTORE_REDUCES?');
});

describe('with --nodes', () => {
  const NODES = ['--nodes', '127.0.0.1:7000,[::1]:7001'];
  const CLUSTER: ClusterOrder = {
    ...{ job: WC.job, args: {}, inputs: ['a'], keys: undefined },
    ...{ reducers: undefined, memoryBytes: 64 * MB, splitBytes: undefined, output: WC.output },
    cluster: { nodes: ['127.0.0.1:7000', '[::1]:7001'], password: undefined, tls: undefined },
  };

  test.each<[string[], Partial<ClusterOrder>]>([
    [['wc', 'a'], {}],
    [['wc'], { inputs: [] }],
    [['wc', '-'], { inputs: ['-'] }],
    [['sort', 'a', '-'], { job: { kind: 'builtin', name: 'sort' }, inputs: ['a', '-'] }],
    [['wc', 'keys:page:*'], { inputs: [], keys: 'page:*' }],
    [['wc', './keys:page'], { inputs: ['./keys:page'] }],
    [['wc', 'a', '--out', 'keys:n:'], { output: { kind: 'keys', prefix: 'n:' } }],
    [['wc', 'a', '--out', 'd'], { output: { kind: 'directory', path: resolve('d'), force: false } }],
    [['wc', 'a', '--reduces', '3', '--split', '1mb'], { reducers: 3, splitBytes: MB }],
    [['wc', 'a', '--password', 'p'], { cluster: { ...CLUSTER.cluster, password: 'p' } }],
    [['wc', 'a', '--tls'], { cluster: { ...CLUSTER.cluster, tls: {} } }],
  ])('%j are understood', (args, order) => {
    expect(readJobOrder([...args, ...NODES], {})).toEqual({ ...CLUSTER, ...order });
  });

  test.each([
    [['wc', 'a', '--workers', '2'], '--workers is for jobs on this machine: servers have --mr-threads'],
    [['wc', 'a', '--sequential'], '--sequential is for jobs on this machine: servers have --mr-threads'],
    [['wc', 'keys:a', 'keys:b'], 'keys:a stands alone: a job reads files, or stored keys of one pattern'],
    [['wc', 'a', 'keys:b'], 'keys:b stands alone: a job reads files, or stored keys of one pattern'],
    [['grep', 'x', 'a', '--out', 'keys:n:'], '--out keys:n:: the lines of grep have no keys'],
    [['sort', 'a', '--out', 'keys:n:'], '--out keys:n:: the lines of sort have no keys'],
    [
      ['wc', 'a', '--out', 'hash:h'],
      '--out hash:h: there are no values of the type hash yet; keys:PREFIX stores strings (a directory of this name is ./hash:h)',
    ],
    [['wc', 'a', '--out', 'keys:n:', '--force'], '--force is for the directory that --out names'],
    [
      ['wc', 'a', '--out', 'keys:n:', '--top', '3'],
      '--top is for standard output: each part in --out is in the order of its keys',
    ],
    [
      ['wc', 'a', '--out', 'keys:n:', '--sort', 'count'],
      '--sort count is for standard output: each part in --out is in the order of its keys',
    ],
    [['ii', 'a', '-'], 'standard input (-) stands alone with --nodes: put it into a file of its own'],
    [['wc', 'a', '--tls-ca-cert-file', 'x'], '--tls-ca-cert-file is for --tls'],
  ])('%j are refused', (args, message) => {
    expect(() => readJobOrder([...args, ...NODES], {})).toThrow(new ConfigError(message));
  });

  test('what is no address is refused', () => {
    for (const nodes of ['', 'a:b', 'a,,b', 'a:70000']) {
      expect(() => readJobOrder(['wc', 'a', `--nodes=${nodes}`], {})).toThrow(
        /^--nodes takes addresses of servers .* is no address/,
      );
    }
  });

  test('standard input is for servers on this machine', () => {
    const elsewhere = ['--nodes', '127.0.0.1:1,far.example:2'];
    const message = /^standard input can be read by servers on this machine only, and far\.example:2 is not/;
    expect(() => readJobOrder(['wc', '-', ...elsewhere], {})).toThrow(message);
    const piped = readJobOrder(['wc', ...elsewhere], {});
    expect(() => withStandardInput(piped)).toThrow(message);
    expect(withStandardInput(readJobOrder(['wc', ...NODES], {})).inputs).toEqual(['-']);
  });

  test('the password comes from the environment as redis-cli has it, or from a flag', () => {
    const passwordOf = (...args: string[]) =>
      readJobOrder(['wc', 'a', ...NODES, ...args], { REDISCLI_AUTH: 'env', HSTORE_PASSWORD: 'x' }).cluster
        ?.password;
    expect([passwordOf(), passwordOf('--password', 'flag')]).toEqual(['env', 'flag']);
  });

  test('the authorities are read from a file', () => {
    const path = join(temporaryDirectory(), 'ca.pem');
    writeFileSync(path, 'PEM');
    const order = readJobOrder(['wc', 'a', ...NODES, '--tls', '--tls-ca-cert-file', path], {});
    expect(order.cluster?.tls).toEqual({ ca: Buffer.from('PEM') });
    const missing = ['wc', 'a', ...NODES, '--tls', '--tls-ca-cert-file', `${path}.no`];
    expect(() => readJobOrder(missing, {})).toThrow(/^cannot read the file of --tls-ca-cert-file: ENOENT/);
  });
});

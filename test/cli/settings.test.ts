import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { planCluster, readCheckDir, readServerSettings } from '../../src/cli/settings.ts';
import { ConfigError } from '../../src/lib/errors.ts';
import { temporaryDirectory } from '../io/temporary.ts';

const THREE = 'n1=127.0.0.1:6379@16379,n2=127.0.0.1:6380@16380,n3=127.0.0.1:6381@16381';

function configFile(text: string): string {
  const path = join(temporaryDirectory(), 'hstore.conf');
  writeFileSync(path, text);
  return path;
}

describe('the settings of a server', () => {
  test('come from flags, the environment and the file that --config names', () => {
    const path = configFile('port 1\nmaxclients 1\n');
    const config = readServerSettings(['--config', path, '--port=2'], { HSTORE_MAXCLIENTS: '3' });
    expect(config).toMatchObject({ port: 2, maxclients: 3, configFile: path });
    expect(readServerSettings([], { HSTORE_CONFIG: path })).toMatchObject({ port: 1, maxclients: 1 });
  });

  test('cannot come from a file that is not there', () => {
    expect(() => readServerSettings(['--config', '/nowhere/x'], {})).toThrow(
      /^cannot read the configuration file \/nowhere\/x: ENOENT/,
    );
  });
});

describe('the directory to be checked', () => {
  test('is named by --check-dir, which stands alone', () => {
    expect(readCheckDir(['--port', '1'])).toBeUndefined();
    expect(readCheckDir(['--check-dir', 'a'])).toBe('a');
    expect(readCheckDir(['--check-dir=a b'])).toBe('a b');
    expect(() => readCheckDir(['--dir', 'b', '--check-dir', 'a'])).toThrow(
      new ConfigError('--check-dir stands alone: --dir beside it would do nothing'),
    );
    expect(() => readCheckDir(['--check-dir=a', '--check-dir=b'])).toThrow(ConfigError);
    expect(() => readCheckDir(['--check-dir='])).toThrow(new ConfigError('--check-dir needs a value'));
  });
});

describe('the plan of a local cluster', () => {
  test('is three servers from 6379 on with their data below hstore-data', () => {
    const plan = planCluster([], {});
    expect(plan).toMatchObject({ directory: './hstore-data', restart: false, requirepass: '' });
    expect(plan.ports).toEqual([6379, 16379, 6380, 16380, 6381, 16381]);
    expect(plan.servers.map(({ name, port }) => [name, port])).toEqual([
      ['n1', 6379],
      ['n2', 6380],
      ['n3', 6381],
    ]);
    expect(plan.servers[1]!.args).toEqual([
      ...['server', '--id', 'n2', '--cluster', THREE, '--port', '6380', '--bind', '127.0.0.1'],
      ...['--dir', join('hstore-data', 'n2'), '--logfile='],
    ]);
  });

  test('hands the flags of the servers on to each', () => {
    const plan = planCluster(['--nodes', '5', '--maxmemory', '64mb', '--loglevel=debug', '--restart'], {});
    expect(plan.restart).toBe(true);
    expect(plan.servers).toHaveLength(5);
    for (const { args } of plan.servers)
      expect(args.slice(-2)).toEqual(['--maxmemory=64mb', '--loglevel=debug']);
  });

  test('gives every server settings that a server accepts', () => {
    const path = configFile('port 7000\ndir /data\nrequirepass x\n');
    const plan = planCluster(['--config', path, '--timeout', '7'], {
      HSTORE_BIND: '0.0.0.0',
      HSTORE_NODES: '5',
    });
    const configs = plan.servers.map(({ args }) => readServerSettings(args.slice(1), plan.environment));
    expect(configs.map(({ id, port, dir }) => [id, port, dir])).toEqual(
      [1, 2, 3, 4, 5].map((i) => [`n${i}`, 6999 + i, `/data/n${i}`]),
    );
    for (const config of configs) {
      expect(config).toMatchObject({ bind: ['127.0.0.1'], requirepass: 'x', timeoutSeconds: 7, logfile: '' });
    }
    expect(plan.requirepass).toBe('x');
  });

  test('leaves out what is for one server, and refuses it in the file', () => {
    const plan = planCluster([], {
      ...{ HSTORE_JOIN: 'a:1', HSTORE_CLUSTER_PORT: '7', HSTORE_MR_PORT: '7070' },
      HSTORE_TIMEOUT: '7',
    });
    expect(plan.environment).toEqual({ HSTORE_TIMEOUT: '7' });
    const path = configFile('force-new-cluster yes\n');
    expect(() => planCluster(['--config', path], {})).toThrow(
      new ConfigError(`force-new-cluster in ${path} is for one server: start it with hstore server`),
    );
  });

  test('hands secrets on in the environment, where other users do not see them', () => {
    const plan = planCluster(['--requirepass', 'geheim', '--cluster-secret=geheimer'], { PATH: '/bin' });
    expect(plan.environment).toEqual({
      PATH: '/bin',
      HSTORE_REQUIREPASS: 'geheim',
      HSTORE_CLUSTER_SECRET: 'geheimer',
    });
    expect(plan.servers.flatMap(({ args }) => args).join(' ')).not.toContain('geheim');
  });

  test.each([
    [['--nodes', '0'], "invalid value '0' for --nodes: argument must be between 1 and 9 inclusive"],
    [['--node', '3'], 'unknown flag --node: did you mean --nodes?'],
    [['--join=a:1'], '--join is for one server: start it with hstore server'],
    [['--check-dir', 'a'], '--check-dir is for one server: start it with hstore server'],
    [
      ['--cluster-announce-port', '1'],
      '--cluster-announce-port is for one server: start it with hstore server',
    ],
    [['--id', 'n1'], 'unknown flag --id: did you mean --dir?'],
    [['--reads', 'x'], "invalid value 'x' for --reads: valid are linearizable, local"],
    [
      ['--port', '55534'],
      "--port 55534 leaves no room for the servers' own ports (PORT + 10000): with 3 servers it is at most 55533",
    ],
  ])('refuses %j', (args, message) => {
    expect(() => planCluster(args, {})).toThrow(new ConfigError(message));
  });
});

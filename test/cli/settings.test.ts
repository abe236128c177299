import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { planCluster, readServerSettings } from '../../src/cli/settings.ts';
import { ConfigError } from '../../src/lib/errors.ts';
import { Authority, KEY_PASSWORD } from '../io/certificates.ts';
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

  test('hands secrets on in the environment, where other users do not see them', () => {
    const plan = planCluster(['--requirepass', 'geheim', '--cluster-secret=geheimer'], { PATH: '/bin' });
    expect(plan.environment).toEqual({
      PATH: '/bin',
      HSTORE_REQUIREPASS: 'geheim',
      HSTORE_CLUSTER_SECRET: 'geheimer',
    });
    expect(plan.servers.flatMap(({ args }) => args).join(' ')).not.toContain('geheim');
  });

  test('gives each server a port for TLS of its own, and the files to all', () => {
    const authority = new Authority();
    onTestFinished(() => authority.remove());
    const { certFile, keyFile } = authority.encrypt(authority.issue('server'));
    const files = [
      '--tls-cert-file',
      certFile,
      '--tls-key-file',
      keyFile,
      '--tls-key-file-pass',
      KEY_PASSWORD,
    ];
    const settingsOf = (...args: string[]) => {
      const plan = planCluster([...args, ...files], {});
      const configs = plan.servers.map((server) =>
        readServerSettings(server.args.slice(1), plan.environment),
      );
      expect(plan.servers.flatMap((server) => server.args).join(' ')).not.toContain(KEY_PASSWORD);
      expect(configs.map(({ tls }) => tls!.keyFilePass)).toEqual([KEY_PASSWORD, KEY_PASSWORD, KEY_PASSWORD]);
      return { plan, ports: configs.map(({ port, tlsPort }) => [port, tlsPort]) };
    };
    const both = settingsOf('--tls-port', '7379');
    expect(both.ports).toEqual([6379, 6380, 6381].map((port) => [port, port + 1000]));
    expect(both.plan.ports).toEqual([6379, 16379, 6380, 16380, 6381, 16381, 7379, 7380, 7381]);
    expect(both.plan.tls).toBeUndefined();
    const only = settingsOf('--tls-port', '7379', '--port', '0');
    expect(only.ports).toEqual([7379, 7380, 7381].map((port) => [0, port]));
    expect(only.plan.ports).toEqual([7379, 17379, 7380, 17380, 7381, 17381]);
    expect(only.plan.servers.map(({ port }) => port)).toEqual([7379, 7380, 7381]);
    expect(only.plan.tls).toBeDefined();
    expect(() => settingsOf('--tls-port', '6381')).toThrow(
      new ConfigError('--tls-port 6381 is too near to --port 6379 for 3 servers'),
    );
  });

  test('is refused when a certificate cannot be used, before anything is started', () => {
    const args = ['--tls-port', '7379', '--tls-cert-file', '/nowhere/c', '--tls-key-file', '/nowhere/k'];
    expect(() => planCluster(args, {})).toThrow(/^cannot read tls-cert-file \/nowhere\/c: ENOENT/);
  });

  test.each([
    [['--nodes', '0'], "invalid value '0' for --nodes: argument must be between 1 and 9 inclusive"],
    [['--node', '3'], 'unknown flag --node: did you mean --nodes?'],
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

/** TLS in the plan of a local cluster. */
import { describe, expect, onTestFinished, test } from 'vitest';
import { planCluster, readServerSettings } from '../../src/cli/settings.ts';
import { ConfigError } from '../../src/lib/errors.ts';
import { Authority, KEY_PASSWORD } from '../io/certificates.ts';

describe('the plan of a local cluster', () => {
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
});

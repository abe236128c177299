/**
 * TLS on real processes: redis-cli and ioredis get in, who may not does not, and servers whose links are encrypted elect
 * a leader and serve.
 */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { Authority, type Certificate } from '../io/certificates.ts';
import { takePorts } from '../ports.ts';
import { info, PROGRAM, ProcessCluster, redisCli, ServerProcess, until } from './processes.ts';

let authority: Authority;
let strangers: Authority;
let server: Certificate;
let client: Certificate;
beforeAll(() => {
  authority = new Authority();
  strangers = new Authority();
  server = authority.issue('server');
  client = authority.issue('client');
});
afterAll(() => {
  authority.remove();
  strangers.remove();
});

function flagsFor({ certFile, keyFile }: Certificate): string[] {
  return ['--tls-cert-file', certFile, '--tls-key-file', keyFile, '--tls-ca-cert-file', authority.caCertFile];
}

/** What redis-cli needs to be sure of the server, and to show who it is. */
function tlsArgs(shown?: Certificate): string[] {
  const own = shown === undefined ? [] : ['--cert', shown.certFile, '--key', shown.keyFile];
  return ['--tls', '--cacert', authority.caCertFile, ...own];
}

async function start(count: number, flags: readonly string[]): Promise<ProcessCluster> {
  const cluster = await ProcessCluster.make(count, flags);
  onTestFinished(() => cluster.end());
  for (const each of cluster.servers) each.start();
  return cluster;
}

describe('clients', () => {
  test('speak TLS on one port and plain on the other; redis-cli and ioredis do both', async () => {
    const [tlsPort] = await takePorts(1);
    const cluster = await start(1, ['--tls-port', `${tlsPort}`, ...flagsFor(server)]);
    await cluster.ready();
    const { port } = cluster.servers[0]!;
    expect(redisCli(tlsPort!, ...tlsArgs(), 'set', 'k', 'v').output).toBe('OK\n');
    expect(redisCli(port, 'get', 'k').output).toBe('v\n');
    expect(info(port).tcp_port).toBe(`${port}`);
    expect(redisCli(tlsPort!, 'ping').status).toBe(1);

    const redis = new Redis(tlsPort!, '127.0.0.1', { tls: { ca: readFileSync(authority.caCertFile) } });
    onTestFinished(() => redis.disconnect());
    const value = Buffer.alloc(5 << 20, 'x');
    expect(await redis.set('large', value)).toBe('OK');
    expect((await redis.getBuffer('large'))!.equals(value)).toBe(true);
    const replies = await redis.pipeline().set('a', '1').incr('a').get('a').exec();
    expect(replies!.map(([, reply]) => reply)).toEqual(['OK', 2, '2']);
    expect(await redis.quit()).toBe('OK');
  }, 60_000);

  test('who shows a certificate of another authority is refused, who shows none is not', async () => {
    const [tlsPort] = await takePorts(1);
    const cluster = await start(1, [
      '--tls-port',
      `${tlsPort}`,
      '--loglevel',
      'verbose',
      ...flagsFor(server),
    ]);
    await cluster.ready();
    // It ends with an error, or by a signal when the connection is closed under it.
    expect(redisCli(tlsPort!, ...tlsArgs(strangers.issue('s')), 'ping').status).not.toBe(0);
    expect(redisCli(tlsPort!, ...tlsArgs(client), 'ping').output).toBe('PONG\n');
    expect(redisCli(tlsPort!, ...tlsArgs(), 'ping').output).toBe('PONG\n');
    await until(() => cluster.servers[0]!.output.includes('a TLS handshake failed'), 10_000);
  }, 60_000);

  test('must show a certificate with tls-auth-clients yes; and --port 0 leaves TLS alone', async () => {
    const flags = ['--port', '0', '--tls-auth-clients', 'yes', ...flagsFor(server)];
    const cluster = await ProcessCluster.make(1, flags);
    onTestFinished(() => cluster.end());
    const { port } = cluster.servers[0]!;
    const { name, peerPort, directory } = cluster.servers[0]!;
    const args = ['--id', name, '--tls-port', `${port}`, ...flags];
    const only = new ServerProcess({ name, port, peerPort, directory, args });
    only.start();
    onTestFinished(() => only.kill());
    await until(() => redisCli(port, ...tlsArgs(client), 'get', 'nothing').output === '\n', 20_000);
    expect(redisCli(port, ...tlsArgs(), 'ping').status).toBe(1);
    expect(redisCli(port, 'ping').status).toBe(1);
    expect(redisCli(port, ...tlsArgs(client), 'info', 'server').output).toContain(`tcp_port:${port}\r\n`);
    expect(redisCli(port, ...tlsArgs(client), 'config', 'get', 'port').output).toBe('port\n0\n');
  }, 60_000);
});

describe('the servers of a cluster', () => {
  test('with tls-cluster yes elect a leader, and serve', async () => {
    const cluster = await start(3, ['--tls-cluster', 'yes', ...flagsFor(server)]);
    await cluster.ready();
    for (const { port, name } of cluster.servers) {
      expect(redisCli(port, 'set', name, 'x'.repeat(100_000)).output).toBe('OK\n');
    }
    await cluster.agree();
    await cluster.leader().kill();
    for (const { port } of cluster.servers.filter(({ running }) => running)) {
      await until(() => redisCli(port, 'get', 'n1').output.length === 100_001, 20_000);
    }
  }, 60_000);

  test('one without TLS, or with a certificate of another authority, is refused', async () => {
    const cluster = await ProcessCluster.make(3, ['--cluster-secret', 'the same']);
    onTestFinished(() => cluster.end());
    const members = cluster.servers
      .map((each) => `${each.name}=127.0.0.1:${each.port}@${each.peerPort}`)
      .join(',');
    const own = ['--tls-cluster', 'yes', '--cluster-secret', 'the same'];
    const foreign = strangers.issue('foreign');
    const flags = [
      [...own, ...flagsFor(server)],
      ['--cluster-secret', 'the same'],
      [...own, ...flagsFor(foreign)],
    ];
    const servers = cluster.servers.map(({ name, port, peerPort, directory }, i) => {
      const args = ['--id', name, '--cluster', members, '--loglevel', 'verbose', ...flags[i]!];
      return new ServerProcess({ name, port, peerPort, directory, args });
    });
    for (const each of servers) {
      each.start();
      onTestFinished(() => each.kill());
    }
    await until(() => servers.every(({ output }) => output.includes('cannot reach a peer')), 20_000);
    for (const { port, output } of servers) {
      expect(output).not.toContain('connected to a peer');
      expect(info(port).raft_leader_id).toBe('');
    }
  }, 60_000);
});

describe('hstore cluster', () => {
  test('--tls-port gives each server a port, and --port 0 leaves them the only ones', async () => {
    const ports = await takePorts(3);
    const directory = authority.directory;
    const tls = ['--tls-port', `${ports[0]}`, '--port', '0', '--tls-cluster', 'yes', ...flagsFor(server)];
    const child = spawn(process.execPath, [PROGRAM, 'cluster', '--dir', join(directory, 'data'), ...tls], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    let output = '';
    child.stdout.on('data', (text: Buffer) => {
      output += text.toString();
    });
    await until(() => output.includes('\n'), 30_000);
    expect(output).toBe(`ready ${ports.map((port) => `127.0.0.1:${port}`).join(' ')}\n`);
    expect(redisCli(ports[0]!, ...tlsArgs(), 'set', 'k', 'v').output).toBe('OK\n');
    expect(redisCli(ports[2]!, ...tlsArgs(), 'get', 'k').output).toBe('v\n');
    const exit = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    expect(await exit).toBe(0);
  }, 60_000);
});

describe('a mistake with certificates costs one line and exit status 2', () => {
  function run(mode: string, files: Certificate): { line: string; status: number | null } {
    const flags = ['--tls-port', '1', ...flagsFor(files), '--dir', join(authority.directory, 'never')];
    const done = spawnSync(process.execPath, [PROGRAM, mode, ...flags], { timeout: 15_000 });
    return { line: done.stderr.toString(), status: done.status };
  }

  test.each(['server', 'cluster'])('in hstore %s', async (mode) => {
    const nosuch = run(mode, { ...server, certFile: '/nowhere/x' });
    expect(nosuch.line).toMatch(/^hstore: cannot read tls-cert-file \/nowhere\/x: ENOENT[^\n]*\n$/);
    const otherKey = run(mode, { ...server, keyFile: client.keyFile });
    expect(otherKey.line).toMatch(/^hstore: [^\n]*: the key is not that of the certificate\n$/);
    const expired = run(mode, authority.issue('expired', { days: -1 }));
    expect(expired.line).toMatch(/^hstore: the certificate in tls-cert-file [^\n]* has expired on [^\n]*\n$/);
    expect([nosuch, otherKey, expired].map(({ status }) => status)).toEqual([2, 2, 2]);
  });
});

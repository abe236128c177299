/**
 * The databases that are compared, each started fresh in a temporary directory, every one of them syncing every write.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Peer {
  readonly name: string;
  /** Ports for clients, the leader's first. */
  readonly ports: readonly number[];
  stop(): Promise<void>;
}

function launch(command: string, args: readonly string[], directory: string): ChildProcess {
  return spawn(command, args, { cwd: directory, stdio: 'ignore' });
}

async function answering(port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = createConnection({ port, host: '127.0.0.1' });
      socket.on('connect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.on('error', () => resolve(false));
    });
    if (open) return;
    await pause(100);
  }
  throw new Error(`nobody listens on port ${port}`);
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, ms));
}

function stopper(children: readonly ChildProcess[], directory: string): () => Promise<void> {
  return async () => {
    const exits = children.map((child) => new Promise((resolve) => child.once('exit', resolve)));
    for (const child of children) child.kill('SIGTERM');
    await Promise.all(exits);
    rmSync(directory, { recursive: true, force: true });
  };
}

export async function startHstore(program: string, port: number): Promise<Peer> {
  const directory = mkdtempSync(join(tmpdir(), 'bench-hstore-'));
  const args = [program, 'cluster', '--port', `${port}`, '--dir', directory, '--loglevel', 'warning'];
  const child = spawn(process.execPath, args, { cwd: directory, stdio: ['ignore', 'pipe', 'ignore'] });
  await new Promise<void>((resolve, reject) => {
    child.once('exit', () => reject(new Error('hstore cluster ended before it was ready')));
    child.stdout!.on('data', (data: Buffer) => {
      if (data.toString().includes('ready')) resolve();
    });
  });
  const ports = [port, port + 1, port + 2];
  const leader = ports.find((each) => redisCli(each, 'info', 'raft').includes('raft_role:leader'));
  const sorted = [leader ?? port, ...ports.filter((each) => each !== leader)];
  return { name: 'hstore', ports: sorted, stop: stopper([child], directory) };
}

export function redisCli(port: number, ...args: string[]): string {
  return execFileSync('redis-cli', ['-p', `${port}`, ...args]).toString();
}

export async function startRedis(port: number): Promise<Peer> {
  const directory = mkdtempSync(join(tmpdir(), 'bench-redis-'));
  const args = ['--port', `${port}`, '--dir', directory, '--save', '', '--appendonly', 'yes'];
  const child = launch('redis-server', [...args, '--appendfsync', 'always'], directory);
  await answering(port);
  return { name: 'redis appendfsync always', ports: [port], stop: stopper([child], directory) };
}

export async function startEtcd(port: number): Promise<Peer> {
  const directory = mkdtempSync(join(tmpdir(), 'bench-etcd-'));
  const members = [0, 1, 2].map((i) => ({ name: `e${i}`, client: port + i, peer: port + 100 + i }));
  const cluster = members.map(({ name, peer }) => `${name}=http://127.0.0.1:${peer}`).join(',');
  const children = members.map(({ name, client, peer }) => {
    const urls = [`http://127.0.0.1:${client}`, `http://127.0.0.1:${peer}`] as const;
    const args = ['--name', name, '--data-dir', join(directory, name), '--initial-cluster', cluster];
    args.push('--listen-client-urls', urls[0], '--advertise-client-urls', urls[0]);
    args.push('--listen-peer-urls', urls[1], '--initial-advertise-peer-urls', urls[1]);
    return launch('etcd', args, directory);
  });
  for (const { client } of members) await answering(client);
  await pause(3000);
  const leader = members.find(({ client }) => leads(client)) ?? members[0]!;
  const ports = [
    leader.client,
    ...members.map(({ client }) => client).filter((each) => each !== leader.client),
  ];
  return { name: 'etcd, 3 members', ports, stop: stopper(children, directory) };
}

function leads(client: number): boolean {
  const env = { ...process.env, ETCDCTL_API: '3' };
  const args = ['--endpoints', `127.0.0.1:${client}`, 'endpoint', 'status', '-w', 'simple'];
  return /,\s*true\s*,/.test(execFileSync('etcdctl', args, { env }).toString());
}

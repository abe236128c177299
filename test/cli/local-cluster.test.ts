/** The launcher, with a small program in place of the servers. Ports: a block that no other test uses. */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { LocalCluster } from '../../src/cli/local-cluster.ts';
import { encodeCommand, probe } from '../../src/cli/probe.ts';
import { type ClusterPlan, planCluster } from '../../src/cli/settings.ts';
import { InUseError } from '../../src/lib/errors.ts';
import { takePorts } from '../ports.ts';

const fakeServer = fileURLToPath(new URL('fake-server.mjs', import.meta.url));
/** Three for each cluster. */
let nextPort = (await takePorts(45))[0]! - 3;

interface Launched {
  readonly cluster: LocalCluster;
  readonly plan: ClusterPlan;
  readonly lines: string[];
  readonly allDead: Promise<void>;
}

function launcher(args: readonly string[] = [], environment: Record<string, string> = {}): Launched {
  nextPort += 3;
  const plan = planCluster(['--port', `${nextPort}`, ...args], { PATH: process.env.PATH, ...environment });
  const lines: string[] = [];
  let onAllDead: () => void = () => {};
  const allDead = new Promise<void>((resolve) => {
    onAllDead = resolve;
  });
  const cluster = new LocalCluster({
    plan,
    program: (serverArgs) => ({ command: process.execPath, args: [fakeServer, ...serverArgs] }),
    say: (line) => lines.push(line),
    prefixed: true,
    onAllDead,
    killAfterMs: 300,
  });
  onTestFinished(() => cluster.kill());
  return { cluster, plan, lines, allDead };
}

/** Those of the plan's servers that answer. */
async function listeners({ servers, requirepass }: ClusterPlan): Promise<string[]> {
  const answers = await Promise.all(servers.map(({ port }) => probe({ port, password: requirepass })));
  return servers.filter((_, i) => answers[i]!.answers).map(({ name }) => name);
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await sleep(20);
}

function tellToDie(port: number): void {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write(encodeCommand(['DIE']));
}

describe('a local cluster', () => {
  test('is ready when every server answers, and leaves none behind when it stops', async () => {
    const { cluster, plan, lines } = launcher();
    await cluster.start();
    expect(cluster.ready).toBe(true);
    expect(await listeners(plan)).toEqual(['n1', 'n2', 'n3']);
    await until(() => lines.length === 3);
    expect(lines.sort()).toEqual(
      ['n1', 'n2', 'n3'].map((name) => `${name} | I am ${name} of ${process.pid}`),
    );
    await cluster.stop();
    expect(await listeners(plan)).toEqual([]);
    expect(lines).toHaveLength(3);
  });

  test('gives the password when it looks whether its servers answer', async () => {
    const { cluster, plan } = launcher(['--requirepass', 'a b']);
    await cluster.start();
    expect(await listeners(plan)).toEqual(['n1', 'n2', 'n3']);
    expect(await probe({ port: plan.servers[0]!.port, password: 'wrong' })).toEqual({
      answers: false,
      leader: '',
    });
    await cluster.stop();
  });

  test('does not start anything when one of its ports is taken', async () => {
    const { cluster, plan, lines } = launcher();
    const other = createServer().listen(plan.ports[3]!, '127.0.0.1');
    await once(other, 'listening');
    await expect(cluster.start()).rejects.toThrow(InUseError);
    await expect(cluster.start()).rejects.toThrow(`port ${plan.ports[3]} of 127.0.0.1 is in use`);
    other.close();
    expect(await listeners(plan)).toEqual([]);
    expect(lines).toEqual([]);
  });

  test('stops all servers when one of them does not start', async () => {
    const { cluster, plan, lines } = launcher([], { FAKE_SERVER: 'n2:refuse' });
    await expect(cluster.start()).rejects.toThrow('n2 did not start: exit status 1, its last lines say why');
    expect(lines).toContain('n2 | I do not want to');
    expect(await listeners(plan)).toEqual([]);
    expect(cluster.ready).toBe(false);
  });

  test('says so when its program cannot be started', async () => {
    const { plan } = launcher();
    const cluster = new LocalCluster({
      plan,
      program: () => ({ command: '/nowhere/hstore', args: [] }),
      say: () => {},
      prefixed: false,
      onAllDead: () => {},
      killAfterMs: 300,
    });
    await expect(cluster.start()).rejects.toThrow('n1 did not start: spawn /nowhere/hstore ENOENT');
  });

  test('reports a server that has died, and says when none is left', async () => {
    const { cluster, plan, lines, allDead } = launcher(['--nodes', '2']);
    await cluster.start();
    tellToDie(plan.servers[1]!.port);
    const report = 'n2 has died: exit status 3; with --restart it would be started again';
    await until(() => lines.includes(report));
    expect(await listeners(plan)).toEqual(['n1']);
    tellToDie(plan.servers[0]!.port);
    await allDead;
  });

  test('starts a server again that has died, with --restart', async () => {
    const { cluster, plan, lines } = launcher(['--nodes', '1', '--restart']);
    await cluster.start();
    tellToDie(plan.servers[0]!.port);
    await until(() => lines.includes('n1 has died: exit status 3; it is started again in 0.5 s'));
    await until(async () => (await listeners(plan)).length === 1);
    await cluster.stop();
    expect(await listeners(plan)).toEqual([]);
  });

  test('can be stopped while it starts', async () => {
    const { cluster, plan } = launcher();
    const starting = cluster.start();
    await sleep(30);
    await cluster.stop();
    await starting;
    expect(cluster.ready).toBe(false);
    expect(await listeners(plan)).toEqual([]);
  });

  test('kills a server that does not end by itself', async () => {
    const { cluster, plan } = launcher(['--nodes', '1'], { FAKE_SERVER: 'n1:mute' });
    await cluster.start();
    await cluster.stop();
    expect(await listeners(plan)).toEqual([]);
  });
});

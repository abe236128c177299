/**
 * The one file, alone in an empty directory, as a whole cluster: under this Node.js and under Deno.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { takePorts } from '../ports.ts';
import { ensureBuilt, installInto, RUNTIMES } from './bundle.ts';

let directory: string;
let child: ChildProcess | undefined;
beforeAll(ensureBuilt, 60_000);
afterEach(() => {
  child?.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true });
});

function redisCli(port: string, ...args: string[]): string {
  const { stdout, error } = spawnSync('redis-cli', ['-p', port, ...args], { timeout: 10_000 });
  if (error !== undefined) throw error;
  return stdout.toString();
}

test.each(RUNTIMES.map((runtime) => [runtime.name, runtime] as const))(
  'a cluster runs from an empty directory under %s, is used through every server, stops, and starts again',
  async (_name, { command }) => {
    directory = mkdtempSync(join(tmpdir(), 'hstore-cluster-'));
    const script = installInto(directory);
    const [port] = await takePorts(3);
    const [program, ...args] = [...command, script, 'cluster', '--port', `${port}`];
    for (let life = 1; life <= 2; life++) {
      const running = spawn(program!, args, { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] });
      child = running;
      const exited = new Promise<number | string | null>((resolve) => {
        running.once('exit', (code, signal) => resolve(code ?? signal));
      });
      let stderr = '';
      running.stderr.on('data', (data: Buffer) => {
        stderr += data.toString();
      });
      const line = await new Promise<string>((resolve, reject) => {
        running.stdout.once('data', (data: Buffer) => resolve(data.toString()));
        void exited.then((why) => reject(new Error(`ended with ${why}: ${stderr}`)));
      });
      expect(line).toMatch(/^ready 127\.0\.0\.1:\d+ 127\.0\.0\.1:\d+ 127\.0\.0\.1:\d+\n$/);
      const ports = [...line.matchAll(/:(\d+)/g)].map(([, port]) => port!);
      for (const port of ports) redisCli(port, 'incr', 'counter');
      for (const port of ports) expect(redisCli(port, 'get', 'counter')).toBe(`${life * 3}\n`);
      running.kill('SIGTERM');
      expect(await exited, stderr).toBe(0);
      for (const port of ports) expect(redisCli(port, 'ping')).toBe('');
    }
  },
  60_000,
);

/** The built program, as tests run it: dist/hstore.js alone in a directory, under this Node.js or under Deno. */
import { type ExecFileException, execFile } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const bundle = join(root, 'dist', 'hstore.js');

/** What a program was started with; `script` comes after it. */
export interface Runtime {
  readonly name: string;
  readonly command: readonly string[];
}

export const NODE: Runtime = { name: `Node.js ${process.versions.node}`, command: [process.execPath] };
export const DENO: Runtime = {
  name: 'Deno',
  command: [denoBinary(), 'run', '-A'],
};
export const RUNTIMES = [NODE, DENO];

/** The binary that the package `deno` brought for this platform, without the script that would start it for us. */
function denoBinary(): string {
  const { platform, arch } = process;
  const target = `${platform}-${arch}${platform === 'linux' ? '-glibc' : ''}`;
  const file = platform === 'win32' ? 'deno.exe' : 'deno';
  return createRequire(import.meta.url).resolve(`@deno/${target}/${file}`);
}

/** Builds the program unless dist is what the sources say. */
export async function ensureBuilt(): Promise<void> {
  const { code, stderr } = await run([process.execPath, join(root, 'scripts', 'ensure.mjs')], { cwd: root });
  if (code !== 0) throw new Error(`the build failed: ${stderr}`);
}

/** Puts the program, without its source map or anything else, into `directory` and gives its path there. */
export function installInto(directory: string): string {
  mkdirSync(directory, { recursive: true });
  const script = join(directory, 'hstore.js');
  copyFileSync(bundle, script);
  return script;
}

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export function run(
  [command, ...args]: readonly string[],
  options: { cwd: string; env?: NodeJS.ProcessEnv },
): Promise<Outcome> {
  return new Promise((resolve) => {
    const onExit = (error: ExecFileException | null, stdout: string, stderr: string): void => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr });
    };
    execFile(command!, args, { ...options, encoding: 'utf8' }, onExit);
  });
}

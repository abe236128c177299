import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { temporaryDirectory } from '../io/temporary.ts';
import { ensureBuilt, installInto, NODE, RUNTIMES, run } from './bundle.ts';

beforeAll(ensureBuilt);

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
const OK = { code: 0, stdout: 'ok\n', stderr: '' };

describe.each(RUNTIMES)('under $name', ({ command }) => {
  test('the program runs from a directory that holds nothing else, native store included', async () => {
    const cwd = temporaryDirectory();
    const script = installInto(cwd);
    expect(await run([...command, script, 'selftest'], { cwd })).toEqual(OK);
    expect(readdirSync(cwd)).toEqual(['hstore.js']);
  });

  test.each(['module', 'commonjs'])('the program runs below a package.json of type %s', async (type) => {
    const cwd = temporaryDirectory();
    writeFileSync(join(cwd, 'package.json'), JSON.stringify({ type }));
    const script = installInto(join(cwd, 'bin'));
    expect(await run([...command, script, 'selftest'], { cwd })).toEqual(OK);
  });

  test('the program runs through a symbolic link of another name', async () => {
    const cwd = temporaryDirectory();
    const script = installInto(join(cwd, 'lib'));
    symlinkSync(script, join(cwd, 'hstore'));
    symlinkSync(script, join(cwd, 'linked.js'));
    expect(await run([...command, join(cwd, 'linked.js'), 'selftest'], { cwd })).toEqual(OK);
  });

  test('--version and --help answer without unpacking the native store', async () => {
    const cwd = temporaryDirectory();
    const script = installInto(cwd);
    const cache = join(cwd, 'cache');
    const env = { ...process.env, HSTORE_CACHE_DIR: cache };
    expect(await run([...command, script, '--version'], { cwd, env })).toEqual({
      code: 0,
      stdout: `${version}\n`,
      stderr: '',
    });
    const help = await run([...command, script, '--help'], { cwd, env });
    expect(help).toMatchObject({ code: 0, stderr: '' });
    expect(help.stdout).toContain('usage: hstore MODE');
    expect(readdirSync(cwd)).toEqual(['hstore.js']);
  });
});

test('the program is an executable, by itself and through a link without .js', async () => {
  const cwd = temporaryDirectory();
  const script = installInto(join(cwd, 'lib'));
  symlinkSync(script, join(cwd, 'hstore'));
  expect(await run([script, 'selftest'], { cwd })).toEqual(OK);
  expect(await run([join(cwd, 'hstore'), 'selftest'], { cwd })).toEqual(OK);
});

describe('the cache of the native store', () => {
  function setUp(): { cache: string; selfTest: (env?: NodeJS.ProcessEnv) => ReturnType<typeof run> } {
    const cwd = temporaryDirectory();
    const script = installInto(cwd);
    const cache = join(cwd, 'cache');
    const own = { PATH: process.env.PATH, HSTORE_CACHE_DIR: cache, XDG_CACHE_HOME: join(cwd, 'second') };
    return {
      cache,
      selfTest: (env) => run([...NODE.command, script, 'selftest'], { cwd, env: { ...own, ...env } }),
    };
  }

  test('is filled once, and shared by processes that start at the same time', async () => {
    const { cache, selfTest } = setUp();
    const outcomes = await Promise.all(Array.from({ length: 4 }, () => selfTest()));
    expect(outcomes).toEqual(Array(4).fill(OK));
    expect(readdirSync(cache)).toHaveLength(1);
  });

  test('is repaired when a file in it is cut short or changed', async () => {
    const { cache, selfTest } = setUp();
    expect(await selfTest()).toEqual(OK);
    const file = join(cache, readdirSync(cache)[0]!);
    const whole = readFileSync(file);
    for (const damaged of [
      whole.subarray(0, 1000),
      Buffer.concat([whole, Buffer.from('x')]),
      Buffer.alloc(0),
    ]) {
      writeFileSync(file, damaged);
      expect(await selfTest()).toEqual(OK);
      expect(readFileSync(file).equals(whole)).toBe(true);
    }
  });

  test('is not used where others may write, or where no directory can be made', async () => {
    const { cache, selfTest } = setUp();
    mkdirSync(cache);
    chmodSync(cache, 0o777);
    expect(await selfTest()).toEqual(OK);
    expect(readdirSync(cache)).toEqual([]);
    rmSync(cache, { recursive: true });
    writeFileSync(cache, 'a file');
    expect(await selfTest()).toEqual(OK);
  });
});

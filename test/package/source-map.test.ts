import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { temporaryDirectory } from '../io/temporary.ts';
import { ensureBuilt, installInto, NODE, run } from './bundle.ts';

beforeAll(ensureBuilt);

const map = fileURLToPath(new URL('../../dist/hstore.js.map', import.meta.url));

test('with its source map beside it, a stack trace names the sources', async () => {
  const cwd = temporaryDirectory();
  const script = installInto(cwd);
  copyFileSync(map, `${script}.map`);
  const env = { ...process.env, TMPDIR: join(cwd, 'missing') };
  const command = [...NODE.command, '--enable-source-maps', script, 'selftest'];
  const { code, stderr } = await run(command, { cwd, env });
  expect(code).toBe(1);
  expect(stderr).toMatch(/src\/cli\/self-test\.ts:\d+:\d+/);
});

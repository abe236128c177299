import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { temporaryDirectory } from './temporary.ts';

/**
 * A limit for each file, as every user may set it, stands for the full disk: writes fail midway, as they do
 * there.
 */
const SCRIPT = 'ulimit -f 2048 && exec "$0" scripts/run-ts.mjs test/io/full-disk.ts "$1"';

test('log files, replaced files and stores report a full disk, lose nothing, and go on when there is room', async () => {
  const { stdout } = await promisify(execFile)('sh', ['-c', SCRIPT, process.execPath, temporaryDirectory()]);
  expect(stdout).toBe('ok\n');
});

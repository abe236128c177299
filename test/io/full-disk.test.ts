import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { RUNTIMES, run } from '../package/bundle.ts';
import { temporaryDirectory } from './temporary.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/**
 * A limit for each file, as every user may set it, stands for the full disk: writes fail midway, as they do there.
 * The signal that comes with it would end Deno; Node ignores it by itself.
 */
const SCRIPT = 'trap "" XFSZ; ulimit -f 2048; exec "$@"';

test.each(RUNTIMES)(
  'log files, replaced files and stores report a full disk, lose nothing, and go on when there is room: $name',
  async ({ command }) => {
    const program = [...command, 'scripts/run-ts.mjs', 'test/io/full-disk.ts', temporaryDirectory()];
    const outcome = await run(['sh', '-c', SCRIPT, 'sh', ...program], { cwd: root });
    expect(outcome).toEqual({ code: 0, stdout: 'ok\n', stderr: '' });
  },
);

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { configDefaults, defineConfig } from 'vitest/config';

const { version } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'));

/** Tests that speak to hstore through Redis's own programs, or compare it with Redis. */
const BESIDE_REDIS = ['test/e2e/**', 'test/compat/**', 'test/package/cluster.test.ts'];
const PROGRAMS = ['redis-cli', 'redis-benchmark', 'redis-server'];
/** Tests that need certificates: see test/io/certificates.ts. */
const BESIDE_OPENSSL = [
  ...['test/io/tls.test.ts', 'test/mapreduce/shuffle-tls.test.ts'],
  ...['test/cli/tls-settings.test.ts', 'test/e2e/tls.test.ts'],
];

/** On a machine that has only Node.js these tests are left out, and that is said. Where CI is set they run, and fail. */
function leftOut(tests: readonly string[], programs: readonly string[]): readonly string[] {
  const missing = programs.filter((program) => spawnSync(program, ['--version']).error !== undefined);
  if (missing.length === 0 || process.env.CI !== undefined) return [];
  process.stderr.write(`${missing.join(', ')} not found: the tests of ${tests.join(', ')} are left out\n`);
  return tests;
}

export default defineConfig({
  define: { HSTORE_VERSION: JSON.stringify(version) },
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [...configDefaults.exclude, ...leftOut(BESIDE_REDIS, PROGRAMS), ...leftOut(BESIDE_OPENSSL, ['openssl'])],
    testTimeout: 20_000,
    hookTimeout: 20_000,
    // Much of the time is waiting: for elections, for processes. By itself vitest leaves a core free.
    maxWorkers: 2,
  },
});

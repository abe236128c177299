/** A directory for one test, gone after it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

export function makeTemporaryDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'hstore-test-'));
}

/** To be called inside a test. */
export function temporaryDirectory(): string {
  const path = makeTemporaryDirectory();
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

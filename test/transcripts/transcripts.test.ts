/**
 * Scenarios of consensus as readable text: what each server does, says and writes, in full. A change of behaviour is a
 * difference in a transcript. `REWRITE=1` writes them anew; the differences are then for a reader to judge.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { replay } from './language.ts';

const DIRECTORY = new URL('.', import.meta.url);

for (const name of readdirSync(DIRECTORY).filter((file) => file.endsWith('.txt'))) {
  test(`the transcript ${name} is what happens`, () => {
    const path = new URL(name, DIRECTORY);
    const text = readFileSync(path, 'utf8');
    const now = replay(text);
    if (process.env.REWRITE !== undefined) writeFileSync(path, now);
    else expect(now).toBe(text);
    expect(now.includes('error:')).toBe(name === 'lost-tail.txt');
  });
}

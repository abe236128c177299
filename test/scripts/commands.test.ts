import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { commandsDocument, type RedisCommands } from '../../scripts/commands/document.ts';
import { allCommands } from '../../src/server/command-table.ts';

const redis = JSON.parse(readFileSync('scripts/commands/redis-7.0.json', 'utf8')) as RedisCommands;
const text = commandsDocument(redis);

test('docs/commands.md is what npm run commands writes', () => {
  expect(readFileSync('docs/commands.md', 'utf8')).toBe(text);
});

test('the list of commands names each command once', () => {
  const names = [...Object.values(redis).flatMap(Object.keys), ...allCommands.keys()];
  for (const name of new Set(names))
    expect(text.split(`\n| \`${name.toUpperCase()}\` |`), name).toHaveLength(2);
});

test('the list of commands tells what is there, what differs and what is not', () => {
  expect(text).toMatch(/\n\| `GET` \| yes \| {2}\|\n/);
  expect(text).toMatch(/\n\| `SAVE` \| differs \| writes a checkpoint/);
  expect(text).toMatch(
    /\n\| `FUNCTION` \| differs \| .*without DELETE, DUMP, KILL, LOAD, RESTORE, STATS \|\n/,
  );
  expect(text).toMatch(/\n\| `MIGRATE` \| no \| {2}\|\n/);
});

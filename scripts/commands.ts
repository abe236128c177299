/**
 * `npm run commands` writes docs/commands.md, the list of the commands that hstore has and has not. A test sees to it that
 * the file is up to date.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { commandsDocument, type RedisCommands } from './commands/document.ts';

const redis = JSON.parse(
  readFileSync(new URL('commands/redis-7.0.json', import.meta.url), 'utf8'),
) as RedisCommands;
writeFileSync(new URL('../docs/commands.md', import.meta.url), commandsDocument(redis));

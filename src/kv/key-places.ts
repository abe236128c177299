/**
 * Which keys an operation of the log needs in memory before it runs, beside those of its own argv in its own database.
 */
import { latin1 } from '../lib/bytes.ts';
import { DATABASES, type Transaction, type TransactionCommand } from './batch.ts';
import { keyIndexes, type OtherKey, type WriteCommand } from './command.ts';
import type { EntryCursor } from './entry-cursor.ts';
import type { KeyPlace } from './fetch.ts';
import type { Rows } from './rows.ts';
import { carriedOut } from './session-commands.ts';

/** Of the command that the cursor is at: what its row calls `otherKeys`, which it has. */
export function otherPlaces(command: WriteCommand, cursor: EntryCursor): KeyPlace[] {
  const argv = Array.from({ length: cursor.argc }, (_, i) => cursor.arg(i));
  return command.otherKeys!(argv, cursor.db).map(({ db, key }) => ({ db, name: latin1(key) }));
}

/** All keys of a transaction, the watched ones first. */
export function transactionPlaces({ watched, commands }: Transaction, rows: Rows): KeyPlace[] {
  const places: KeyPlace[] = watched.map(({ db, key }) => ({ db, name: latin1(key) }));
  // Behind a SWAPDB the keys of a database are those of another.
  const anyDb = commands.some(({ argv }) => carriedOut(rows.inTransaction(argv).name, argv) === 'swapdb');
  for (const command of commands) addKeys(places, command, { rows, anyDb });
  return places;
}

function addKeys(
  places: KeyPlace[],
  { db, argv }: TransactionCommand,
  { rows, anyDb }: { rows: Rows; anyDb: boolean },
): void {
  const row = rows.inTransaction(argv);
  const keys: OtherKey[] = [];
  const { first, last, step } = keyIndexes(row.keys, argv.length);
  for (let i = first; i <= last && i < argv.length; i += step) keys.push({ db, key: argv[i]! });
  if (row.kind === 'write' && row.otherKeys !== undefined) keys.push(...row.otherKeys(argv, db));
  for (const each of keys) {
    const name = latin1(each.key);
    if (!anyDb) places.push({ db: each.db, name });
    else for (let database = 0; database < DATABASES; database++) places.push({ db: database, name });
  }
}

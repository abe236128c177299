/**
 * Rows of commands by the name as it was typed, found by one look: `SET`, `set` and `Set` are each known after the first
 * time. Bounded: only names that exist are kept.
 */
import { assert } from '../lib/assert.ts';
import { fromLatin1, latin1 } from '../lib/bytes.ts';
import type { WriteCommand } from './command.ts';
import { type DataCommand, dataCommands, findDataCommand } from './table.ts';

export interface Row<Command> {
  readonly command: Command;
  /** The name in lower case, for argv. */
  readonly name: Uint8Array;
}

export class Rows {
  readonly #writes = new Map<string, Row<WriteCommand>>();

  /** Of a write command in the log. */
  write(typed: string): Row<WriteCommand> {
    const known = this.#writes.get(typed);
    if (known !== undefined) return known;
    const command = dataCommands.get(typed.toLowerCase());
    assert(
      command !== undefined && command.kind === 'write',
      'the log holds write commands that exist',
      typed,
    );
    const row = { command, name: fromLatin1(command.name) };
    this.#writes.set(typed, row);
    return row;
  }

  /** Of a command in a transaction. */
  inTransaction(argv: readonly Uint8Array[]): DataCommand {
    const known = this.#writes.get(latin1(argv[0]!));
    if (known !== undefined) return known.command;
    const command = findDataCommand(argv);
    assert(command !== undefined, 'a transaction holds commands that exist', argv.length);
    return command;
  }
}

/**
 * The table of the commands on data: every row that the state machine can run, by name in lower case.
 */
import type { ReadCommand, WriteCommand } from './command.ts';
import { expiryCommands } from './expiry.ts';
import { genericCommands } from './generic.ts';
import { keyspaceCommands } from './keyspace-commands.ts';
import { stringCommands } from './string.ts';

export const dataCommands: ReadonlyMap<string, ReadCommand | WriteCommand> = new Map(
  [...stringCommands, ...genericCommands, ...expiryCommands, ...keyspaceCommands].map((row) => [
    row.name,
    row,
  ]),
);

/** Whether there is such a write command with so many arguments, the name included: for `validateRun`. */
export function acceptsWrite(name: string, argc: number): boolean {
  const row = dataCommands.get(name.toLowerCase());
  if (row === undefined || row.kind !== 'write') return false;
  return row.arity >= 0 ? argc === row.arity : argc >= -row.arity;
}

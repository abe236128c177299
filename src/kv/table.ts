/**
 * The table of the commands on data: every row that the state machine can run, by name in lower case.
 */
import { latin1 } from '../lib/bytes.ts';
import { bitCommands } from './bit.ts';
import type { ReadCommand, ScanCommand, WriteCommand } from './command.ts';
import { dumpCommands } from './dump.ts';
import { expiryCommands } from './expiry.ts';
import { genericCommands } from './generic.ts';
import { internalCommands } from './internal-commands.ts';
import { keyspaceCommands } from './keyspace-commands.ts';
import { objectCommand } from './object.ts';
import { renameCommands } from './rename.ts';
import { scanCommands } from './scan-commands.ts';
import { sessionCommands } from './session-commands.ts';
import { sortCommands } from './sort.ts';
import { stringCommands } from './string.ts';

export type DataCommand = ReadCommand | WriteCommand | ScanCommand;

const rows: readonly DataCommand[] = [
  ...stringCommands,
  ...bitCommands,
  ...genericCommands,
  ...renameCommands,
  ...dumpCommands,
  ...expiryCommands,
  ...sortCommands,
  objectCommand,
  ...keyspaceCommands,
  ...scanCommands,
  ...internalCommands,
  ...sessionCommands(findWrite),
];

export const dataCommands: ReadonlyMap<string, DataCommand> = new Map(rows.map((row) => [row.name, row]));

/** The row that an argv means: of a container the subcommand. Undefined when there is none. */
export function findDataCommand(argv: readonly Uint8Array[]): DataCommand | undefined {
  const row = dataCommands.get(latin1(argv[0]!).toLowerCase());
  if (row?.subcommands === undefined || argv.length === 1) return row;
  const name = latin1(argv[1]!).toLowerCase();
  return row.subcommands.find((subcommand) => subcommand.name === name);
}

/** `name`: in lower case. */
function findWrite(name: string): WriteCommand | undefined {
  const row = dataCommands.get(name);
  return row?.kind === 'write' ? row : undefined;
}

/**
 * Whether there is such a command with so many arguments, the name included: for `validateRun`. By itself in a run it
 * must write; in a transaction it may be any command on data.
 */
export function accepts(name: string, argc: number, inTransaction: boolean, word = ''): boolean {
  const found = dataCommands.get(name.toLowerCase());
  if (found === undefined || (found.kind !== 'write' && !inTransaction)) return false;
  const subcommand = word.toLowerCase();
  const row =
    found.subcommands === undefined ? found : found.subcommands.find((other) => other.name === subcommand);
  if (row === undefined) return false;
  // In pieces, half of a pair would be found out when the other pairs are done.
  if (row.kind === 'write' && row.pieces !== undefined && (argc - 1) % row.keys[2] !== 0) return false;
  return row.arity >= 0 ? argc === row.arity : argc >= -row.arity;
}

/** Whether every replica gives the same reply: only such a one can be kept to be given again. */
export function isRepeatable(row: DataCommand): boolean {
  return row.kind === 'write' || (row.kind === 'read' && row.replyIsLocal !== true);
}

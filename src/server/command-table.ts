/**
 * Every command of hstore, by its name in lower case: those on data (kv), and those on a server or connection.
 */
import { dataCommands } from '../kv/table.ts';
import { OK, type Reply } from '../resp/reply.ts';
import { clientCommand } from './client-commands.ts';
import { clusterCommand } from './cluster-commands.ts';
import { commandCommand } from './command-commands.ts';
import { configCommand } from './config-commands.ts';
import { connectionCommands } from './connection-commands.ts';
import type { AnyCommand, Call, ServerCommand } from './context.ts';
import { infoCommand } from './info.ts';
import { bulk } from './replies.ts';
import { SERVER_ROWS } from './server-rows.ts';

/** This server's clock; what is stored goes by the log's. */
function time({ server }: Call): Reply {
  const nowMs = server.clock.wallMs();
  return [bulk(`${Math.floor(nowMs / 1000)}`), bulk(`${(nowMs % 1000) * 1000}`)];
}

const serverCommands: readonly ServerCommand[] = [
  ...connectionCommands,
  clientCommand,
  clusterCommand,
  commandCommand,
  configCommand,
  infoCommand,
  { ...SERVER_ROWS.time, kind: 'local', run: time },
  // What cluster clients send to replicas. Every server answers everything as it is.
  { ...SERVER_ROWS.readonly, kind: 'local', run: () => OK },
  { ...SERVER_ROWS.readwrite, kind: 'local', run: () => OK },
];

export const allCommands: ReadonlyMap<string, AnyCommand> = new Map<string, AnyCommand>([
  ...dataCommands,
  ...serverCommands.map((row) => [row.name, row] as const),
]);

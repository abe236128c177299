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
import { debugCommand } from './debug-commands.ts';
import { functionCommand, lolwutCommand } from './function-commands.ts';
import { infoCommand } from './info.ts';
import { latencyCommand } from './latency-commands.ts';
import { mapreduceCommands } from './mapreduce-rows.ts';
import { memoryCommand } from './memory-commands.ts';
import { replicationCommands } from './replication-commands.ts';
import { bulk } from './replies.ts';
import { saveCommands } from './save-commands.ts';
import { SERVER_ROWS } from './server-rows.ts';
import { slowlogCommand } from './slowlog-commands.ts';
import { transactionCommands } from './transaction-commands.ts';

/** This server's clock; what is stored goes by the log's. */
function time({ server }: Call): Reply {
  const nowMs = server.clock.wallMs();
  return [bulk(`${Math.floor(nowMs / 1000)}`), bulk(`${(nowMs % 1000) * 1000}`)];
}

const SERVES_ALL = 'changes nothing: every server takes every command';

const serverCommands: readonly ServerCommand[] = [
  ...connectionCommands,
  clientCommand,
  clusterCommand,
  commandCommand,
  configCommand,
  infoCommand,
  ...transactionCommands,
  latencyCommand,
  memoryCommand,
  slowlogCommand,
  debugCommand,
  functionCommand,
  lolwutCommand,
  ...replicationCommands,
  ...saveCommands,
  ...mapreduceCommands,
  { ...SERVER_ROWS.time, kind: 'local', run: time },
  // What cluster clients send to replicas. Every server answers everything as it is.
  { ...SERVER_ROWS.readonly, kind: 'local', differs: SERVES_ALL, run: () => OK },
  { ...SERVER_ROWS.readwrite, kind: 'local', differs: SERVES_ALL, run: () => OK },
];

export const allCommands: ReadonlyMap<string, AnyCommand> = new Map<string, AnyCommand>([
  ...[...dataCommands].filter(([, row]) => row.internal !== true),
  ...serverCommands.map((row) => [row.name, row] as const),
]);

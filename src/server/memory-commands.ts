/**
 * MEMORY: what the process and its keys take. After Redis 7.0's object.c; the allocator is V8's.
 */
import type { ReadCommand } from '../kv/command.ts';
import { parseInteger } from '../kv/integer.ts';
import { memoryUsage } from '../kv/memory.ts';
import { latin1 } from '../lib/bytes.ts';
import { DoubleReply, ErrorReply, MapReply, OK, type Reply, VerbatimReply } from '../resp/reply.ts';
import type { Call, ServerCommand, ServerContext } from './context.ts';
import { OBSERVATION_ROWS } from './observation-rows.ts';
import { bulk, helpLines, SYNTAX_ERROR, wrongArity } from './replies.ts';

const MB = 1024 ** 2;
const USAGE: ReadCommand = { ...OBSERVATION_ROWS['memory|usage'], kind: 'read', run: memoryUsage };

/** MEMORY USAGE key [SAMPLES count]. Nothing is sampled: what a value takes is known. */
function usage({ argv, client, server, request }: Call): Reply | undefined {
  for (let i = 3; i < argv.length; i += 2) {
    if (latin1(argv[i]!).toLowerCase() !== 'samples' || i + 1 === argv.length) return SYNTAX_ERROR;
    const samples = parseInteger(argv[i + 1]!);
    if (samples === undefined) return new ErrorReply('ERR', 'value is not an integer or out of range');
    if (samples < 0) return SYNTAX_ERROR;
  }
  server.replica.read(client.db, USAGE, argv, request);
  return undefined;
}

/** Of the process, as MEMORY STATS and INFO show it. */
export interface MemoryUse {
  readonly usedBytes: number;
  readonly residentBytes: number;
  readonly peakBytes: number;
  readonly startupBytes: number;
  /** Keys and values that are kept in memory, by estimate. */
  readonly datasetBytes: number;
  readonly clientsBytes: number;
}

export function memoryUse({ system, stats, replica, clients }: ServerContext): MemoryUse {
  const { heapBytes, residentBytes } = system.memory();
  stats.noteMemory(heapBytes);
  let clientsBytes = 0;
  for (const { queryBytes, argvBytes, outputBytes } of clients.values()) {
    clientsBytes += queryBytes + argvBytes + outputBytes;
  }
  return {
    usedBytes: heapBytes,
    residentBytes,
    peakBytes: stats.memoryPeakBytes,
    startupBytes: stats.memoryStartupBytes,
    datasetBytes: replica.stateMachine.memoryBytes,
    clientsBytes,
  };
}

function stats({ server }: Call): Reply {
  const use = memoryUse(server);
  const { sizes } = server.replica.stateMachine;
  const keys = sizes.reduce((sum, size) => sum + size, 0);
  const overheadBytes = Math.max(0, use.usedBytes - use.datasetBytes);
  const ratio = (part: number, whole: number) => new DoubleReply(whole === 0 ? 0 : part / whole);
  const fields: [string, Reply][] = [
    ['peak.allocated', use.peakBytes],
    ['total.allocated', use.usedBytes],
    ['startup.allocated', use.startupBytes],
    ['replication.backlog', 0],
    ['clients.slaves', 0],
    ['clients.normal', use.clientsBytes],
    ['cluster.links', 0],
    ['aof.buffer', 0],
    ['lua.caches', 0],
    ['functions.caches', 0],
    ['overhead.total', overheadBytes],
    ['keys.count', keys],
    ['keys.bytes-per-key', keys === 0 ? 0 : Math.floor(use.datasetBytes / keys)],
    ['dataset.bytes', use.datasetBytes],
    ['dataset.percentage', ratio(use.datasetBytes * 100, use.usedBytes)],
    ['peak.percentage', ratio(use.usedBytes * 100, use.peakBytes)],
    ['fragmentation', ratio(use.residentBytes, use.usedBytes)],
    ['fragmentation.bytes', use.residentBytes - use.usedBytes],
  ];
  return new MapReply(fields.map(([name, value]) => [bulk(name), value]));
}

function doctor({ server }: Call): Reply {
  const use = memoryUse(server);
  const findings: string[] = [];
  if (server.config.maxmemory > 0 && use.datasetBytes > server.config.maxmemory) {
    findings.push(
      'More data than maxmemory is in memory: they have changed since the last checkpoint, and the disk does not keep up.',
    );
  }
  if (use.clientsBytes > 64 * MB && use.clientsBytes > use.usedBytes / 2) {
    findings.push('Most memory is taken by what clients have sent or have not read yet: see CLIENT LIST.');
  }
  if (use.residentBytes > 1024 * MB && use.residentBytes > 2 * use.usedBytes) {
    findings.push(
      'The process holds twice the memory that it uses. It gives it back when the machine needs it.',
    );
  }
  const text =
    findings.length === 0 ? 'There is nothing wrong with the memory of this server.' : findings.join('\n');
  return new VerbatimReply('txt', `${text}\n`);
}

function mallocStats({ server }: Call): Reply {
  const use = memoryUse(server);
  const lines = [
    `heap of V8 in use, buffers included: ${use.usedBytes} bytes`,
    `of these, keys and values (estimate): ${use.datasetBytes} bytes`,
    `resident: ${use.residentBytes} bytes`,
  ];
  return new VerbatimReply('txt', lines.map((line) => `${line}\n`).join(''));
}

const HELP = [
  'DOCTOR',
  '    Return memory problems reports.',
  'MALLOC-STATS',
  '    Return internal statistics report from the memory allocator.',
  'PURGE',
  '    Attempt to purge dirty pages for reclamation by the allocator.',
  'STATS',
  '    Return information about the memory usage of the server.',
  'USAGE <key> [SAMPLES <count>]',
  '    Return memory in bytes used by <key> and its value. Nested values are',
  '    sampled up to <count> times (default: 5, 0 means sample all).',
];

export const memoryCommand: ServerCommand = {
  ...OBSERVATION_ROWS.memory,
  kind: 'local',
  differs: 'the numbers are those of V8; PURGE does nothing, since V8 gives memory back by itself',
  run: () => wrongArity('memory'),
  subcommands: [
    { ...OBSERVATION_ROWS['memory|usage'], kind: 'barrier', run: usage },
    { ...OBSERVATION_ROWS['memory|stats'], kind: 'barrier', run: stats },
    { ...OBSERVATION_ROWS['memory|doctor'], kind: 'barrier', run: doctor },
    { ...OBSERVATION_ROWS['memory|purge'], kind: 'local', run: () => OK },
    { ...OBSERVATION_ROWS['memory|malloc-stats'], kind: 'local', run: mallocStats },
    { ...OBSERVATION_ROWS['memory|help'], kind: 'local', run: () => helpLines('MEMORY', HELP) },
  ],
};

/**
 * INFO: what people and monitoring ask a server. Redis's sections and names where they mean the same, and a section
 * `Raft`. It is asked on every connect of some clients and every second by `redis-cli --stat`, so it only reads counters.
 */
import { latin1 } from '../lib/bytes.ts';
import { NOBODY, type NodeId } from '../raft/types.ts';
import { type Reply, VerbatimReply } from '../resp/reply.ts';
import { REDIS_VERSION } from './connection-commands.ts';
import type { Call, Member, ServerCommand, ServerContext } from './context.ts';
import { SERVER_ROWS } from './server-rows.ts';

type Fields = Record<string, string | number>;
type Section = (server: ServerContext) => Fields;

/** In the order in which they are shown. */
const SECTIONS: Readonly<Record<string, Section>> = {
  Server: serverSection,
  Clients: clientsSection,
  Memory: memorySection,
  Persistence: persistenceSection,
  Stats: statsSection,
  Replication: replicationSection,
  CPU: cpuSection,
  Modules: () => ({}),
  Commandstats: commandstatsSection,
  Errorstats: errorstatsSection,
  Cluster: () => ({ cluster_enabled: 1 }),
  Keyspace: keyspaceSection,
  Raft: raftSection,
};

/** `default` is what INFO without arguments shows. `all` and `everything` differ in the modules, and there are none. */
const SETS: Readonly<Record<string, (name: string) => boolean>> = {
  default: (name) => name !== 'commandstats',
  all: () => true,
  everything: () => true,
};

function info(call: Call): Reply | undefined {
  const { server } = call;
  // Between two entries the state is that of an index; in the midst of one it is of none. It is over in a moment.
  if (!server.replica.stateMachine.atRest) {
    server.clock.endOfTurn(() => {
      const reply = info(call);
      if (reply !== undefined) call.request.resolve(reply);
    });
    return undefined;
  }
  const asked = call.argv.slice(1).map((arg) => latin1(arg).toLowerCase());
  const wanted = asked.length === 0 ? ['default'] : asked;
  const isWanted = (name: string) => wanted.some((word) => word === name || SETS[word]?.(name) === true);
  const chosen = Object.entries(SECTIONS).filter(([name]) => isWanted(name.toLowerCase()));
  const texts = chosen.map(([name, section]) => {
    const lines = Object.entries(section(server)).map(([field, value]) => `${field}:${value}\r\n`);
    return `# ${name}\r\n${lines.join('')}`;
  });
  return new VerbatimReply('txt', texts.join('\r\n'));
}

function serverSection(server: ServerContext): Fields {
  const { system, clock, config, self, startedAt } = server;
  const uptimeSeconds = Math.floor((clock.monotonicMs() - startedAt.monotonicMs) / 1000);
  return {
    redis_version: REDIS_VERSION,
    hstore_version: server.version,
    redis_mode: 'standalone',
    os: system.operatingSystem,
    arch_bits: 64,
    runtime: system.runtime,
    process_id: system.processId,
    run_id: server.runId,
    tcp_port: self.port,
    server_time_usec: clock.wallMs() * 1000,
    uptime_in_seconds: uptimeSeconds,
    uptime_in_days: Math.floor(uptimeSeconds / 86_400),
    config_file: config.configFile,
  };
}

function clientsSection({ clients, config }: ServerContext): Fields {
  let input = 0;
  let output = 0;
  for (const client of clients.values()) {
    input = Math.max(input, client.queryBytes);
    output = Math.max(output, client.outputBytes);
  }
  return {
    connected_clients: clients.size,
    maxclients: config.maxclients,
    client_recent_max_input_buffer: input,
    client_recent_max_output_buffer: output,
    blocked_clients: 0,
    tracking_clients: 0,
    clients_in_timeout_table: 0,
  };
}

function memorySection({ system, config, replica }: ServerContext): Fields {
  const { heapBytes, residentBytes } = system.memory();
  return {
    used_memory: heapBytes,
    used_memory_human: human(heapBytes),
    used_memory_rss: residentBytes,
    used_memory_rss_human: human(residentBytes),
    used_memory_dataset: replica.stateMachine.memoryBytes,
    total_system_memory: system.memoryTotalBytes,
    total_system_memory_human: human(system.memoryTotalBytes),
    maxmemory: config.maxmemory,
    maxmemory_human: human(config.maxmemory),
    maxmemory_policy: 'noeviction',
    mem_allocator: 'v8',
  };
}

/** Redis's way: `512B`, `1.50K`, `23.54G`. */
function human(bytes: number): string {
  const units = ['B', 'K', 'M', 'G', 'T'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return unit === 0 ? `${value}B` : `${value.toFixed(2)}${units[unit]}`;
}

/** Every acknowledged write is in the log on disk, as with an append-only file that is always synced. */
function persistenceSection({ replica }: ServerContext): Fields {
  return {
    loading: 0,
    async_loading: 0,
    rdb_changes_since_last_save: replica.stateMachine.appliedIndex - replica.checkpointedIndex,
    rdb_bgsave_in_progress: 0,
    rdb_last_bgsave_status: 'ok',
    aof_enabled: 1,
    aof_rewrite_in_progress: 0,
    aof_rewrite_scheduled: 0,
    aof_last_write_status: replica.diskFull ? 'err' : 'ok',
  };
}

function statsSection(server: ServerContext): Fields {
  const { stats } = server;
  const totals = stats.totals(server.runningTotals());
  return {
    total_connections_received: stats.connectionsReceived,
    total_commands_processed: stats.commandsProcessed,
    instantaneous_ops_per_sec: Math.round(stats.rates.commands),
    total_net_input_bytes: totals.bytesIn,
    total_net_output_bytes: totals.bytesOut,
    instantaneous_input_kbps: (stats.rates.bytesIn / 1024).toFixed(2),
    instantaneous_output_kbps: (stats.rates.bytesOut / 1024).toFixed(2),
    rejected_connections: stats.connectionsRejected,
    expired_keys: totals.expiredKeys,
    evicted_keys: 0,
    pubsub_channels: 0,
    pubsub_patterns: 0,
    total_error_replies: stats.errorReplies,
  };
}

function replicationSection(server: ServerContext): Fields {
  const { raft } = server.replica;
  const offset = { master_repl_offset: raft.log.commitIndex };
  if (raft.role === 'leader') {
    const followers = server.members.filter((member) => member !== server.self);
    const lines = followers.map((member, i) => {
      const offset = raft.leader?.progressOf(member.id)?.matchIndex ?? 0;
      const state = server.peerStatus(member.id).connected ? 'online' : 'wait';
      const lag = silenceSeconds(server, member);
      return [
        `slave${i}`,
        `ip=${member.host},port=${member.port},state=${state},offset=${offset},lag=${lag}`,
      ];
    });
    return { role: 'master', connected_slaves: followers.length, ...Object.fromEntries(lines), ...offset };
  }
  const leader = server.members.find((member) => member.id === raft.leaderId);
  return {
    role: 'slave',
    master_host: leader?.host ?? '?',
    master_port: leader?.port ?? 0,
    master_link_status: leader !== undefined && server.peerStatus(leader.id).connected ? 'up' : 'down',
    master_last_io_seconds_ago: leader === undefined ? -1 : silenceSeconds(server, leader),
    master_sync_in_progress: 0,
    slave_read_only: 0,
    connected_slaves: 0,
    ...offset,
  };
}

/** How long the member has not been heard; -1: never was. */
function silenceSeconds(server: ServerContext, member: Member): number {
  const { lastHeardMs } = server.peerStatus(member.id);
  return lastHeardMs === undefined ? -1 : Math.floor((server.clock.monotonicMs() - lastHeardMs) / 1000);
}

function cpuSection({ system }: ServerContext): Fields {
  const { userSeconds, systemSeconds } = system.cpu();
  return { used_cpu_sys: systemSeconds.toFixed(6), used_cpu_user: userSeconds.toFixed(6) };
}

function commandstatsSection({ stats }: ServerContext): Fields {
  const used = [...stats.commands].filter(([, { calls, rejected }]) => calls > 0 || rejected > 0);
  return Object.fromEntries(
    used.map(([name, { calls, usec, rejected, failed }]) => [
      `cmdstat_${name}`,
      `calls=${calls},usec=${Math.round(usec)},usec_per_call=${(calls === 0 ? 0 : usec / calls).toFixed(2)},` +
        `rejected_calls=${rejected},failed_calls=${failed}`,
    ]),
  );
}

function errorstatsSection({ stats }: ServerContext): Fields {
  const counts = [...stats.errorsByCode].map(([code, count]) => [`errorstat_${code}`, `count=${count}`]);
  return Object.fromEntries(counts);
}

function keyspaceSection({ replica }: ServerContext): Fields {
  const { sizes, expiring } = replica.stateMachine;
  const lines = sizes.map((keys, db) => [`db${db}`, `keys=${keys},expires=${expiring[db]},avg_ttl=0`]);
  return Object.fromEntries(lines.filter((_, db) => sizes[db]! > 0));
}

function raftSection(server: ServerContext): Fields {
  const { raft, stateMachine } = server.replica;
  const nameOf = (id: NodeId) => server.members.find((member) => member.id === id)?.name ?? '';
  const leader = server.members.find((member) => member.id === raft.leaderId);
  return {
    raft_node_id: server.self.name,
    raft_role: raft.role === 'preCandidate' ? 'candidate' : raft.role,
    raft_leader_id: raft.leaderId === NOBODY ? '' : nameOf(raft.leaderId),
    raft_leader_address: leader === undefined ? '' : `${leader.host}:${leader.port}`,
    raft_term: raft.term,
    raft_commit_index: raft.log.commitIndex,
    raft_applied_index: stateMachine.appliedIndex,
    raft_first_log_index: raft.log.compactedIndex + 1,
    raft_last_log_index: raft.log.lastIndex,
    raft_snapshot_index: server.replica.checkpointedIndex,
    raft_state_hash: stateMachine.stateHash(),
    raft_voters: raft.quorum.voters.map(nameOf).join(','),
    raft_learners: '',
  };
}

/** A barrier, so that it sees the writes before it on its connection. */
export const infoCommand: ServerCommand = { ...SERVER_ROWS.info, kind: 'barrier', run: info };

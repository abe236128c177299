/**
 * INFO: what people and monitoring ask a server. Redis's sections and names where they mean the same, and sections
 * `Raft` and `MapReduce`. It is asked on every connect of some clients and every second by `redis-cli --stat`, so it only
 * reads counters.
 */

import { latin1 } from '../lib/bytes.ts';
import type { Raft } from '../raft/raft.ts';
import { NOBODY, type NodeId } from '../raft/types.ts';
import { type Reply, VerbatimReply } from '../resp/reply.ts';
import { REDIS_VERSION } from './connection-commands.ts';
import type { Call, ServerCommand, ServerContext } from './context.ts';
import type { Member } from './member.ts';
import { memoryUse } from './memory-commands.ts';
import { SERVER_ROWS } from './server-rows.ts';

/** What `hz` is in Redis: how often a server looks after itself, per second. */
const HOUSEKEEPING_HZ = 1;
const SECONDS_PER_DAY = 86_400;
const REPLICATION_ID_LENGTH = 40;

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
  Latencystats: latencystatsSection,
  Cluster: () => ({ cluster_enabled: 1 }),
  Keyspace: keyspaceSection,
  Raft: raftSection,
  MapReduce: ({ service }) => Object.fromEntries(service.info()),
};

/** `default` is what INFO without arguments shows. `all` and `everything` differ in the modules, and there are none. */
const SETS: Readonly<Record<string, (name: string) => boolean>> = {
  default: (name) => name !== 'commandstats' && name !== 'latencystats',
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
  const { system, clock, config, startedAt } = server;
  const uptimeSeconds = Math.floor((clock.monotonicMs() - startedAt.monotonicMs) / 1000);
  return {
    redis_version: REDIS_VERSION,
    redis_git_sha1: '00000000',
    redis_git_dirty: 0,
    hstore_version: server.version,
    redis_mode: 'standalone',
    os: system.operatingSystem,
    arch_bits: 64,
    monotonic_clock: 'POSIX clock_gettime',
    multiplexing_api: 'libuv',
    runtime: system.runtime,
    process_id: system.processId,
    process_supervised: 'no',
    run_id: server.runId,
    tcp_port: config.port === 0 ? config.tlsPort : config.port,
    server_time_usec: clock.wallMs() * 1000,
    uptime_in_seconds: uptimeSeconds,
    uptime_in_days: Math.floor(uptimeSeconds / SECONDS_PER_DAY),
    hz: HOUSEKEEPING_HZ,
    configured_hz: HOUSEKEEPING_HZ,
    // Redis's: seconds in 24 bits.
    lru_clock: Math.floor(clock.wallMs() / 1000) % 2 ** 24,
    config_file: config.configFile,
    io_threads_active: 0,
  };
}

function clientsSection({ clients, config }: ServerContext): Fields {
  let input = 0;
  let output = 0;
  let blocked = 0;
  for (const client of clients.values()) {
    if (client.blocked) blocked++;
    input = Math.max(input, client.queryBytes);
    output = Math.max(output, client.outputBytes);
  }
  return {
    connected_clients: clients.size,
    cluster_connections: 0,
    maxclients: config.maxclients,
    client_recent_max_input_buffer: input,
    client_recent_max_output_buffer: output,
    blocked_clients: blocked,
    tracking_clients: 0,
    clients_in_timeout_table: 0,
  };
}

function memorySection(server: ServerContext): Fields {
  const { system, config, replica } = server;
  const use = memoryUse(server);
  const fragmentationBytes = use.residentBytes - use.usedBytes;
  return {
    ...withHuman('used_memory', use.usedBytes),
    ...withHuman('used_memory_rss', use.residentBytes),
    ...withHuman('used_memory_peak', use.peakBytes),
    used_memory_peak_perc: percent(use.usedBytes, use.peakBytes),
    used_memory_overhead: Math.max(0, use.usedBytes - use.datasetBytes),
    used_memory_startup: use.startupBytes,
    used_memory_dataset: use.datasetBytes,
    used_memory_dataset_perc: percent(use.datasetBytes, use.usedBytes),
    allocator_allocated: use.usedBytes,
    allocator_active: use.usedBytes,
    allocator_resident: use.residentBytes,
    ...withHuman('total_system_memory', system.memoryTotalBytes),
    ...withHuman('used_memory_lua', 0),
    used_memory_scripts_eval: 0,
    number_of_cached_scripts: 0,
    number_of_functions: 0,
    number_of_libraries: 0,
    ...withHuman('used_memory_scripts', 0),
    ...withHuman('maxmemory', config.maxmemory),
    maxmemory_policy: 'noeviction',
    mem_fragmentation_ratio: (use.residentBytes / Math.max(1, use.usedBytes)).toFixed(2),
    mem_fragmentation_bytes: fragmentationBytes,
    // What the next checkpoint will write cannot be dropped from memory before.
    mem_not_counted_for_evict: replica.stateMachine.dirtyBytes,
    mem_replication_backlog: 0,
    mem_total_replication_buffers: 0,
    mem_clients_slaves: 0,
    mem_clients_normal: use.clientsBytes,
    mem_cluster_links: 0,
    mem_aof_buffer: 0,
    mem_allocator: 'v8',
    active_defrag_running: 0,
    lazyfree_pending_objects: 0,
    lazyfreed_objects: 0,
  };
}

/** Redis shows many sizes twice, for programs and for people. */
function withHuman(name: string, bytes: number): Fields {
  return { [name]: bytes, [`${name}_human`]: human(bytes) };
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

function percent(part: number, whole: number): string {
  return `${((part * 100) / Math.max(1, whole)).toFixed(2)}%`;
}

/**
 * A checkpoint is what a dump is in Redis, so it has these fields. The log is what an append-only file is that is always
 * synced: every acknowledged write is in it, and it is cut without a rewrite.
 */
function persistenceSection({ replica, clock }: ServerContext): Fields {
  const { beganMs, finishedCount, lastWallMs, lastDurationMs, lastFailed } = replica.checkpoints;
  const seconds = (ms: number | undefined) => (ms === undefined ? -1 : Math.floor(ms / 1000));
  return {
    loading: 0,
    async_loading: 0,
    current_cow_peak: 0,
    current_cow_size: 0,
    current_cow_size_age: 0,
    current_fork_perc: '0.00',
    current_save_keys_processed: 0,
    current_save_keys_total: 0,
    rdb_changes_since_last_save: replica.stateMachine.unsavedChanges,
    rdb_bgsave_in_progress: beganMs === undefined ? 0 : 1,
    rdb_last_save_time: seconds(lastWallMs),
    rdb_last_bgsave_status: lastFailed ? 'err' : 'ok',
    rdb_last_bgsave_time_sec: seconds(lastDurationMs),
    rdb_current_bgsave_time_sec: seconds(beganMs === undefined ? undefined : clock.monotonicMs() - beganMs),
    rdb_saves: finishedCount,
    rdb_last_cow_size: 0,
    rdb_last_load_keys_expired: 0,
    rdb_last_load_keys_loaded: 0,
    aof_enabled: 1,
    aof_rewrite_in_progress: 0,
    aof_rewrite_scheduled: 0,
    aof_last_rewrite_time_sec: -1,
    aof_current_rewrite_time_sec: -1,
    aof_last_bgrewrite_status: 'ok',
    aof_rewrites: 0,
    aof_rewrites_consecutive_failures: 0,
    aof_last_write_status: replica.diskFull ? 'err' : 'ok',
    aof_last_cow_size: 0,
    module_fork_in_progress: 0,
    module_fork_last_cow_size: 0,
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
    sync_full: 0,
    sync_partial_ok: 0,
    sync_partial_err: 0,
    expired_keys: totals.expiredKeys,
    expired_stale_perc: '0.00',
    expired_time_cap_reached_count: 0,
    evicted_keys: 0,
    evicted_clients: 0,
    total_eviction_exceeded_time: 0,
    current_eviction_exceeded_time: 0,
    keyspace_hits: totals.keyspaceHits,
    keyspace_misses: totals.keyspaceMisses,
    pubsub_channels: 0,
    pubsub_patterns: 0,
    pubsubshard_channels: 0,
    latest_fork_usec: 0,
    total_forks: 0,
    migrate_cached_sockets: 0,
    slave_expires_tracked_keys: 0,
    tracking_total_keys: 0,
    tracking_total_items: 0,
    tracking_total_prefixes: 0,
    unexpected_error_replies: 0,
    total_error_replies: stats.errorReplies,
    dump_payload_sanitizations: 0,
  };
}

function replicationSection(server: ServerContext): Fields {
  const { replica } = server;
  const { raft } = replica;
  // The log is the backlog: whoever was away gets from it what it missed.
  const common = {
    master_failover_state: 'no-failover',
    master_replid: server.clusterId.padStart(REPLICATION_ID_LENGTH, '0'),
    master_replid2: '0'.repeat(REPLICATION_ID_LENGTH),
    master_repl_offset: raft.log.commitIndex,
    second_repl_offset: -1,
    repl_backlog_active: 1,
    repl_backlog_size: 0,
    repl_backlog_first_byte_offset: raft.log.compactedIndex + 1,
    repl_backlog_histlen: raft.log.lastIndex - raft.log.compactedIndex,
  };
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
    return { role: 'master', connected_slaves: followers.length, ...Object.fromEntries(lines), ...common };
  }
  const leader = server.members.find((member) => member.id === raft.leaderId);
  return {
    role: 'slave',
    master_host: leader?.host ?? '?',
    master_port: leader?.port ?? 0,
    master_link_status: leader !== undefined && server.peerStatus(leader.id).connected ? 'up' : 'down',
    master_last_io_seconds_ago: leader === undefined ? -1 : silenceSeconds(server, leader),
    master_sync_in_progress: 0,
    slave_read_repl_offset: raft.log.lastIndex,
    slave_repl_offset: replica.stateMachine.appliedIndex,
    slave_priority: 100,
    slave_read_only: 0,
    replica_announced: 1,
    connected_slaves: 0,
    ...common,
  };
}

/** How long the member has not been heard; -1: never was. */
function silenceSeconds(server: ServerContext, member: Member): number {
  const { lastHeardMs } = server.peerStatus(member.id);
  return lastHeardMs === undefined ? -1 : Math.floor((server.clock.monotonicMs() - lastHeardMs) / 1000);
}

function cpuSection({ system }: ServerContext): Fields {
  const { userSeconds, systemSeconds } = system.cpu();
  return {
    used_cpu_sys: systemSeconds.toFixed(6),
    used_cpu_user: userSeconds.toFixed(6),
    used_cpu_sys_children: '0.000000',
    used_cpu_user_children: '0.000000',
  };
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

function latencystatsSection({ stats, config }: ServerContext): Fields {
  const fields = [...stats.commands.values()].flatMap(({ name, histogram }) => {
    if (histogram === undefined || histogram.count === 0) return [];
    const usec = (shown: string) => histogram.percentileUsec(Number(shown)).toFixed(3);
    const percentiles = config.latencyPercentiles.map((shown) => `p${shown}=${usec(shown)}`);
    return [[`latency_percentiles_usec_${name}`, percentiles.join(',')]];
  });
  return config.latencyTracking ? Object.fromEntries(fields) : {};
}

function keyspaceSection({ replica }: ServerContext): Fields {
  const { sizes, expiring } = replica.stateMachine;
  const lines = sizes.map((keys, db) => [`db${db}`, `keys=${keys},expires=${expiring[db]},avg_ttl=0`]);
  return Object.fromEntries(lines.filter((_, db) => sizes[db]! > 0));
}

function raftSection(server: ServerContext): Fields {
  const { raft, stateMachine, snapshots } = server.replica;
  const { received } = snapshots;
  const nameOf = (id: NodeId) => server.members.find((member) => member.id === id)?.name ?? '';
  const leader = server.members.find((member) => member.id === raft.leaderId);
  return {
    raft_node_id: server.self.name,
    raft_role: roleOf(raft),
    raft_leader_id: raft.leaderId === NOBODY ? '' : nameOf(raft.leaderId),
    raft_leader_address: leader === undefined ? '' : `${leader.host}:${leader.port}`,
    raft_term: raft.term,
    raft_commit_index: raft.log.commitIndex,
    raft_applied_index: stateMachine.appliedIndex,
    raft_first_log_index: raft.log.compactedIndex + 1,
    raft_last_log_index: raft.log.lastIndex,
    raft_snapshot_index: server.replica.checkpointedIndex,
    raft_state_hash: stateMachine.stateHash(),
    raft_voters: raft.configuration.voters.map(nameOf).join(','),
    raft_learners: raft.configuration.learners.map(nameOf).join(','),
    raft_log_bytes: server.replica.logBytes,
    raft_snapshots_sent: snapshots.sent
      .map(({ follower, index, sentBytes }) => `name=${nameOf(follower)},index=${index},bytes=${sentBytes}`)
      .join(';'),
    raft_snapshot_received:
      received === undefined
        ? ''
        : `from=${nameOf(received.from)},index=${received.index},bytes=${received.receivedBytes},` +
          `entries=${received.receivedEntries},of=${received.totalEntries}`,
  };
}

function roleOf({ role, configuration, id }: Raft): string {
  if (role === 'preCandidate') return 'candidate';
  return role === 'follower' && configuration.learners.includes(id) ? 'learner' : role;
}

/** A barrier, so that it sees the writes before it on its connection. */
export const infoCommand: ServerCommand = {
  ...SERVER_ROWS.info,
  kind: 'barrier',
  differs:
    'has sections Raft and MapReduce; times of commands are those from arrival to reply; ' +
    'what hstore does not have is shown as 0 or not at all',
  run: info,
};

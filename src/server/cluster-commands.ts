/**
 * CLUSTER: the members as Redis Cluster's clients and tools want to see them. All 16384 slots belong to the one group:
 * its leader is shown as their master, the other members as its replicas. Any server takes any command, so a client that
 * follows this map is served as well as one that does not.
 *
 * Forms as in Redis 7.0's cluster.c.
 */

import { SLOTS, slotOf } from '../kv/slot.ts';
import { latin1 } from '../lib/bytes.ts';
import { NOBODY } from '../raft/types.ts';
import { MapReply, type Reply, VerbatimReply } from '../resp/reply.ts';
import { type Call, memberIdText, type ServerCommand, type ServerContext } from './context.ts';
import type { Member } from './member.ts';
import { MEET_HELP, MEMBERSHIP_HELP, membershipSubcommands } from './membership-commands.ts';
import { bulk, helpLines, wrongArity } from './replies.ts';
import { SERVER_ROWS } from './server-rows.ts';

function leaderOf(server: ServerContext): Member | undefined {
  const { leaderId } = server.replica.raft;
  return leaderId === NOBODY ? undefined : server.members.find((member) => member.id === leaderId);
}

/** The leader first, then the others in their order. */
function leaderAndFollowers(server: ServerContext): [leader: Member | undefined, followers: Member[]] {
  const leader = leaderOf(server);
  return [leader, server.members.filter((member) => member !== leader)];
}

function info({ server }: Call): Reply {
  const { raft } = server.replica;
  const ok = leaderOf(server) !== undefined;
  const lines = [
    `cluster_state:${ok ? 'ok' : 'fail'}`,
    `cluster_slots_assigned:${SLOTS}`,
    `cluster_slots_ok:${ok ? SLOTS : 0}`,
    'cluster_slots_pfail:0',
    `cluster_slots_fail:${ok ? 0 : SLOTS}`,
    `cluster_known_nodes:${server.members.length}`,
    'cluster_size:1',
    `cluster_current_epoch:${raft.term}`,
    `cluster_my_epoch:${raft.term}`,
  ];
  return new VerbatimReply('txt', lines.map((line) => `${line}\r\n`).join(''));
}

/** One line per member: id, address, flags, master, ping, pong, epoch, link, slots. */
function nodes({ server }: Call): Reply {
  const [leader] = leaderAndFollowers(server);
  const lines = server.members.map((member) => describeNode(server, member, leader));
  return new VerbatimReply('txt', lines.map((line) => `${line}\n`).join(''));
}

function describeNode(server: ServerContext, member: Member, leader: Member | undefined): string {
  const isSelf = member === server.self;
  const role = member === leader ? 'master' : 'slave';
  // As Redis calls a replica that must not become master.
  const learner = server.replica.raft.configuration.learners.includes(member.id) ? ',nofailover' : '';
  const flags = (isSelf ? `myself,${role}` : role) + learner;
  const master = member === leader || leader === undefined ? '-' : memberIdText(leader.id);
  const status = server.peerStatus(member.id);
  const link = status.connected ? 'connected' : 'disconnected';
  const pongMs = status.lastHeardMs === undefined ? 0 : wallTime(server, status.lastHeardMs);
  const address = `${member.host}:${member.port}@${member.peerPort}`;
  const slots = member === leader ? ` 0-${SLOTS - 1}` : '';
  const { term } = server.replica.raft;
  return `${memberIdText(member.id)} ${address} ${flags} ${master} 0 ${pongMs} ${term} ${link}${slots}`;
}

function wallTime(server: ServerContext, monotonicMs: number): number {
  const { clock } = server;
  return Math.round(clock.wallMs() - (clock.monotonicMs() - monotonicMs));
}

const NO_METADATA = new MapReply([]);

/** Empty while there is no leader: clients then ask again, instead of going to nobody. */
function slots({ server }: Call): Reply {
  const [leader, followers] = leaderAndFollowers(server);
  if (leader === undefined) return [];
  const describe = (member: Member): Reply => [
    bulk(member.host),
    member.port,
    bulk(memberIdText(member.id)),
    NO_METADATA,
  ];
  return [[0, SLOTS - 1, describe(leader), ...followers.map(describe)]];
}

function shards({ server }: Call): Reply {
  const [leader, followers] = leaderAndFollowers(server);
  const members = leader === undefined ? followers : [leader, ...followers];
  const describe = (member: Member): Reply =>
    new MapReply([
      [bulk('id'), bulk(memberIdText(member.id))],
      [bulk('port'), member.port],
      [bulk('ip'), bulk(member.host)],
      [bulk('endpoint'), bulk(member.host)],
      [bulk('role'), bulk(member === leader ? 'master' : 'replica')],
      [bulk('replication-offset'), server.replica.raft.log.commitIndex],
      [bulk('health'), bulk(server.peerStatus(member.id).connected ? 'online' : 'failed')],
    ]);
  return [
    new MapReply([
      [bulk('slots'), [0, SLOTS - 1]],
      [bulk('nodes'), members.map(describe)],
    ]),
  ];
}

const HELP = [
  ...MEMBERSHIP_HELP,
  'INFO',
  '    Return information about the cluster.',
  'KEYSLOT <key>',
  '    Return the hash slot for <key>.',
  ...MEET_HELP,
  'MYID',
  '    Return the node id.',
  'NODES',
  '    Return cluster configuration seen by node. Output format:',
  '    <id> <ip:port@bus-port> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...',
  'SHARDS',
  '    Return information about slot range mappings and the nodes associated with them.',
  'SLOTS',
  '    Return information about slots range mappings. Each range is made of:',
  '    start, end, master and replicas IP addresses, ports and ids',
];

export const clusterCommand: ServerCommand = {
  ...SERVER_ROWS.cluster,
  kind: 'local',
  run: () => wrongArity('cluster'),
  subcommands: [
    ...membershipSubcommands,
    { ...SERVER_ROWS['cluster|info'], kind: 'local', run: info },
    { ...SERVER_ROWS['cluster|nodes'], kind: 'local', run: nodes },
    { ...SERVER_ROWS['cluster|slots'], kind: 'local', run: slots },
    { ...SERVER_ROWS['cluster|shards'], kind: 'local', run: shards },
    {
      ...SERVER_ROWS['cluster|myid'],
      kind: 'local',
      run: ({ server }) => bulk(memberIdText(server.self.id)),
    },
    { ...SERVER_ROWS['cluster|keyslot'], kind: 'local', run: ({ argv }) => slotOf(latin1(argv[2]!)) },
    { ...SERVER_ROWS['cluster|help'], kind: 'local', run: () => helpLines('CLUSTER', HELP) },
  ],
};

/**
 * ROLE and WAIT: the cluster as those see it who know Redis's replication. The leader is the master, the followers are its
 * replicas, and indexes of the log are the offsets.
 */
import { parseInteger } from '../kv/integer.ts';
import type { Timer } from '../lib/env.ts';
import { NOBODY, type NodeId } from '../raft/types.ts';
import { ErrorReply, type Reply } from '../resp/reply.ts';
import { ADMIN_ROWS } from './admin-rows.ts';
import type { Call, ServerCommand, ServerContext } from './context.ts';
import { bulk, UNBLOCKED } from './replies.ts';

/** How often it is looked whether enough followers have caught up. */
const WAIT_STEP_MS = 10;

function role({ server }: Call): Reply {
  const { raft } = server.replica;
  const offset = raft.log.commitIndex;
  if (raft.role === 'leader') {
    const followers = server.members.filter((member) => member !== server.self);
    const describe = ({ id, host, port }: (typeof followers)[number]): Reply => [
      bulk(host),
      bulk(`${port}`),
      bulk(`${matchIndex(server, id)}`),
    ];
    return [bulk('master'), offset, followers.map(describe)];
  }
  const leader = server.members.find((member) => raft.leaderId !== NOBODY && member.id === raft.leaderId);
  if (leader === undefined) return [bulk('slave'), bulk(''), 0, bulk('connect'), offset];
  const state = server.peerStatus(leader.id).connected ? 'connected' : 'connecting';
  return [bulk('slave'), bulk(leader.host), leader.port, bulk(state), offset];
}

/** Up to which entry the leader knows the member to have the log. */
function matchIndex({ replica }: ServerContext, id: NodeId): number {
  return replica.raft.leader?.progressOf(id)?.matchIndex ?? 0;
}

/**
 * WAIT numreplicas timeout. What this connection wrote and was told of is on a majority, whatever this server is. That it
 * is on more than that only the leader knows; so a follower says what is certain, at once, where waiting would tell it no
 * more. The entry waited for is the last one applied here: what the connection wrote is not behind it.
 */
function wait(call: Call): Reply | undefined {
  const { argv, client, server, request } = call;
  const wanted = parseInteger(argv[1]!);
  if (wanted === undefined) return new ErrorReply('ERR', 'value is not an integer or out of range');
  const timeoutMs = parseInteger(argv[2]!);
  if (timeoutMs === undefined) return new ErrorReply('ERR', 'timeout is not an integer or out of range');
  if (timeoutMs < 0) return new ErrorReply('ERR', 'timeout is negative');
  const { clock, replica } = server;
  const index = replica.stateMachine.appliedIndex;
  const acknowledged = () => acknowledgedBy(server, index);
  if (acknowledged() >= wanted || client.queued >= 0 || replica.raft.role !== 'leader') return acknowledged();
  const deadlineMs = timeoutMs === 0 ? Number.POSITIVE_INFINITY : clock.monotonicMs() + Number(timeoutMs);
  const finish = (reply: Reply): void => {
    timer.cancel();
    client.unblock = undefined;
    request.resolve(reply);
  };
  const sleep = (): Timer => clock.after(Math.min(WAIT_STEP_MS, deadlineMs - clock.monotonicMs()), look);
  const look = (): void => {
    const isOver = clock.monotonicMs() >= deadlineMs || replica.raft.role !== 'leader';
    if (acknowledged() >= wanted || isOver || !server.clients.has(client.id)) finish(acknowledged());
    else timer = sleep();
  };
  let timer = sleep();
  client.unblock = (reason) => finish(reason === 'error' ? UNBLOCKED : acknowledged());
  return undefined;
}

/** How many servers beside the leader have the log up to `index`, an entry that has been applied here. */
function acknowledgedBy(server: ServerContext, index: number): number {
  const others = server.members.filter(({ id }) => id !== server.replica.raft.id);
  const known = others.filter(({ id }) => matchIndex(server, id) >= index).length;
  return Math.max(known, Math.floor(server.members.length / 2));
}

export const replicationCommands: readonly ServerCommand[] = [
  { ...ADMIN_ROWS.role, kind: 'local', differs: 'offsets are indexes of the log', run: role },
  {
    ...ADMIN_ROWS.wait,
    kind: 'barrier',
    differs:
      'every acknowledged write is on a majority without it, so it answers no less than that; on a follower it answers at ' +
      'once, since only the leader knows of more',
    run: wait,
  },
];

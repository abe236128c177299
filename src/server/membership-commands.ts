/**
 * CLUSTER MEET, FORGET and FAILOVER: how the cluster's members and its leader are changed. Any server takes them.
 */
import { checkHost, PEER_PORT_OFFSET } from '../config/members.ts';
import { latin1 } from '../lib/bytes.ts';
import { NOBODY } from '../raft/types.ts';
import { ErrorReply, OK, type Reply } from '../resp/reply.ts';
import { type Call, memberIdText, type ServerCommand } from './context.ts';
import { meet } from './meet.ts';
import { changeReply } from './membership-replies.ts';
import { SYNTAX_ERROR } from './replies.ts';
import { SERVER_ROWS } from './server-rows.ts';

const PORT_MAX = 65_535;

/** CLUSTER MEET host port [peer-port] */
function runMeet({ argv, server, request }: Call): Reply | undefined {
  const [host, portText, peerPortText] = argv.slice(2).map((arg) => latin1(arg));
  if (argv.length > 5) return SYNTAX_ERROR;
  const port = parsePort(portText!);
  if (port === undefined) return new ErrorReply('ERR', `Invalid base port specified: ${portText}`);
  const peerPort = peerPortText === undefined ? port + PEER_PORT_OFFSET : parsePort(peerPortText);
  if (peerPort === undefined) return new ErrorReply('ERR', `Invalid bus port specified: ${peerPortText}`);
  if (peerPort > PORT_MAX || checkHost(host!) !== undefined) {
    return new ErrorReply('ERR', `Invalid node address specified: ${host}:${portText}`);
  }
  if (server.node.joining) return new ErrorReply('ERR', 'This server is in no cluster itself');
  const address = { host: host!.toLowerCase(), port, peerPort };
  meet(server.node, server.random, address, (reply) => request.resolve(reply));
  return undefined;
}

function parsePort(text: string): number | undefined {
  const port = Number(text);
  return /^\d{1,5}$/.test(text) && port >= 1 && port <= PORT_MAX ? port : undefined;
}

/** CLUSTER FORGET id: as CLUSTER NODES shows it, or the member's name. */
function runForget({ argv, server, request }: Call): Reply | undefined {
  const text = latin1(argv[2]!);
  const member = server.members.find(
    ({ id, name }) => memberIdText(id) === text.toLowerCase() || name === text,
  );
  if (member === undefined) return new ErrorReply('ERR', `Unknown node ${text.replace(/[\r\n]/g, ' ')}`);
  server.replica.changeMembers({ type: 'remove', id: member.id }, (outcome) =>
    request.resolve(changeReply(outcome, member.name)),
  );
  return undefined;
}

/** CLUSTER FAILOVER [FORCE]: this server is to lead. FORCE does not ask the leader first, but still needs the votes. */
function runFailover({ argv, server, request }: Call): Reply | undefined {
  const option = argv.length > 2 ? latin1(argv[2]!).toLowerCase() : undefined;
  if (argv.length > 3 || (option !== undefined && option !== 'force' && option !== 'takeover'))
    return SYNTAX_ERROR;
  if (option === 'takeover') {
    return new ErrorReply('ERR', "TAKEOVER is not supported: nobody leads without a majority's votes");
  }
  const { raft } = server.replica;
  if (raft.role === 'leader') return new ErrorReply('ERR', 'You should send CLUSTER FAILOVER to a replica');
  if (!raft.configuration.staysVoter(raft.id)) {
    return new ErrorReply(
      'ERR',
      'This server is a learner: it can lead once it has caught up and become a voter',
    );
  }
  if (raft.leaderId === NOBODY && option === undefined) {
    return new ErrorReply(
      'TRYAGAIN',
      'There is no leader: an election is under way. The command was not executed',
    );
  }
  server.replica.takeOver(option === 'force' ? 'forced' : 'asked', (leads) => {
    const aborted = 'this server did not become leader in time';
    request.resolve(leads ? OK : new ErrorReply('TRYAGAIN', `The failover was aborted: ${aborted}`));
  });
  return undefined;
}

export const membershipSubcommands: readonly ServerCommand[] = [
  {
    ...SERVER_ROWS['cluster|meet'],
    kind: 'local',
    differs:
      'answers when the server is in, as a learner; it is promoted by itself; errors say why a server cannot be let in',
    run: runMeet,
  },
  {
    ...SERVER_ROWS['cluster|forget'],
    kind: 'local',
    differs:
      'removes the member for good, on all servers at once, the leader and this server included; takes names too',
    run: runForget,
  },
  {
    ...SERVER_ROWS['cluster|failover'],
    kind: 'local',
    differs: 'answers when this server leads; TAKEOVER is refused',
    run: runFailover,
  },
];

export const MEMBERSHIP_HELP = [
  'FAILOVER [FORCE|TAKEOVER]',
  '    Promote current replica node to being a master.',
  'FORGET <node-id>',
  '    Remove a node from the cluster, for good.',
];

export const MEET_HELP = ['MEET <ip> <port> [<bus-port>]', '    Let an empty server into the cluster.'];

/**
 * CLUSTER MEET: a server is let into the cluster.
 *
 *   1  visit it: who is it, and may it come in?       nothing has changed yet, and every refusal ends here
 *   2  its new id enters the configuration, as a learner
 *   3  invite it: it takes the id on                  if it refuses after all, the configuration takes it back
 *
 * From then on the leader sends it the log, or a snapshot and then the log, and promotes it by itself. If step 3 was lost,
 * MEET again: a learner that was never heard of under its name is replaced by one with a new id.
 */
import { MalformedError } from '../lib/bytes.ts';
import type { Random } from '../lib/env.ts';
import { MEMBERS_MAX } from '../raft/configuration.ts';
import type { NodeId } from '../raft/types.ts';
import { ErrorReply, OK, type Reply } from '../resp/reply.ts';
import { type Card, decodeAnswer, decodeCard, encodeInvitation } from './card.ts';
import { describeMember, memberOf } from './member.ts';
import { changeError } from './membership-replies.ts';
import type { Node } from './node.ts';
import type { Visit, VisitError } from './peer-visit.ts';

export interface MeetAddress {
  readonly host: string;
  /** For clients. */
  readonly port: number;
  readonly peerPort: number;
}

/** `resolve` is called once, later. */
export function meet(
  node: Node,
  random: Random,
  address: MeetAddress,
  resolve: (reply: Reply) => void,
): void {
  const { host, port, peerPort } = address;
  const shown = `${host}:${port}`;
  const known = node.members.find((member) => member.host === host && member.port === port);
  if (known !== undefined && !isGivenUp(node, known.id))
    return resolve(refused(`${shown} is a member already: ${known.name}`));
  if (node.members.length >= MEMBERS_MAX)
    return resolve(refused(`the cluster has ${MEMBERS_MAX} members, no more can be`));
  node.links.visit({ host, port: peerPort }, (error, visit) => {
    if (error !== null || visit === undefined) return resolve(unreachable(shown, peerPort, error!));
    const done = (reply: Reply): void => {
      visit.close();
      resolve(reply);
    };
    const card = read(() => decodeCard(visit.card));
    if (card === undefined)
      return done(refused(`${shown} speaks in a way that this server does not understand`));
    const reason = refusal(node, card, shown);
    if (reason !== undefined) return done(refused(reason));
    letIn(node, { id: randomId(node, random), card, host, shown, visit }, done);
  });
}

/** Why it cannot be let in. */
function refusal(node: Node, card: Card, shown: string): string | undefined {
  const { configuration } = node.replica.raft;
  const { name } = memberOf(card);
  if (card.clusterId === node.clusterId && card.state !== 'alone') {
    if (configuration.member(card.id) !== undefined && !isGivenUp(node, card.id)) {
      return `${shown} is a member already: ${name}`;
    }
    if (card.state === 'removed' || configuration.removed.includes(card.id)) {
      return `${shown} was removed from this cluster: empty its data directory and start it with --join`;
    }
  } else if (card.state === 'member' || card.state === 'removed') {
    return `${shown} is a member of another cluster (${card.clusterId})`;
  }
  if (card.hasData) {
    return `${shown} has data of its own, which would be lost: only an empty server can be let in`;
  }
  const namesake = node.members.find((member) => member.name === name);
  if (namesake === undefined || isGivenUp(node, namesake.id)) return undefined;
  return `there is a member ${name} already: give the new server another name with --id, or CLUSTER FORGET that one first`;
}

/** A learner that cannot be reached: it was let in and never came, or it is gone. */
function isGivenUp(node: Node, id: NodeId): boolean {
  return node.replica.raft.configuration.learners.includes(id) && !node.peerStatus(id).connected;
}

function letIn(
  node: Node,
  newcomer: { id: NodeId; card: Card; host: string; shown: string; visit: Visit },
  done: (reply: Reply) => void,
): void {
  const { id, card, host, shown, visit } = newcomer;
  const self = memberOf(card);
  const description = describeMember(card.hostIsKnown ? self : { ...self, host });
  const { name } = self;
  const instead = node.members.find((member) => member.name === name)?.id;
  node.replica.changeMembers({ type: 'add', id, description, instead }, (outcome) => {
    if (outcome !== 'done') return done(changeError(outcome, name));
    visit.invite(encodeInvitation({ clusterId: node.clusterId, id }), (error, answer) => {
      if (error?.outcome === 'unknown') return done(new ErrorReply('TIMEOUT', unanswered(shown, error)));
      const reason = error === null ? read(() => decodeAnswer(answer!) ?? '') : error.message;
      if (reason === '') return done(OK);
      // It was never told its id: it can be taken back.
      node.replica.changeMembers({ type: 'remove', id }, () => {
        done(refused(`${shown} does not come in: ${reason ?? 'its answer makes no sense'}`));
      });
    });
  });
}

function unanswered(shown: string, error: VisitError): string {
  return `${shown} was let in, and whether it knows is not known: ${error.message}. If it does not come, MEET it again`;
}

function unreachable(shown: string, peerPort: number, error: VisitError): ErrorReply {
  if (error.kind === 'self') return refused(`${shown} is this server itself`);
  return refused(`${shown} cannot be reached at its port for servers, ${peerPort}: ${error.message}`);
}

function refused(text: string): ErrorReply {
  return new ErrorReply('ERR', text.replace(/[\r\n]+/g, ' '));
}

function read<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    return undefined;
  }
}

/** Never used before: there are 2^48. */
function randomId(node: Node, random: Random): NodeId {
  for (;;) {
    const id = random.below(2 ** 48 - 1) + 1;
    const { configuration } = node.replica.raft;
    if (configuration.member(id) === undefined && !configuration.removed.includes(id)) return id;
  }
}

/** What becomes of a change of the members, as a client is told. */
import { MEMBERS_MAX } from '../raft/configuration.ts';
import { ErrorReply, OK, type Reply } from '../resp/reply.ts';
import type { ChangeOutcome } from './membership-requests.ts';

export function changeReply(outcome: ChangeOutcome, name: string): Reply {
  return outcome === 'done' ? OK : changeError(outcome, name);
}

export function changeError(outcome: Exclude<ChangeOutcome, 'done'>, name: string): ErrorReply {
  switch (outcome) {
    case 'unknown':
      return new ErrorReply('ERR', `Unknown node ${name}`);
    case 'lastVoter':
      return new ErrorReply('ERR', `${name} is the last voter of its cluster, and cannot be removed`);
    case 'already':
    case 'unchanged':
      return new ErrorReply('ERR', `${name} is that already`);
    case 'tooMany':
      return new ErrorReply('ERR', `the cluster has ${MEMBERS_MAX} members, no more can be`);
    case 'removed':
      return new ErrorReply('ERR', `${name} was removed for good`);
    case 'pending':
      return new ErrorReply(
        'TRYAGAIN',
        'Another change of the members is under way. The command was not executed',
      );
    case 'no-leader':
    case 'not-leader':
    case 'not-ready':
    case 'transferring':
      return new ErrorReply('CLUSTERDOWN', 'There is no leader. The command was not executed');
    case 'no-majority':
      return new ErrorReply(
        'TIMEOUT',
        'No majority has confirmed the change in time. Whether it will happen is unknown: see CLUSTER NODES',
      );
  }
}

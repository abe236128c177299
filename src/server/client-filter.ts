/** Which clients CLIENT LIST and CLIENT KILL mean. After Redis 7.0's networking.c. */
import { parseInteger } from '../kv/integer.ts';
import { latin1 } from '../lib/bytes.ts';
import type { Client } from '../resp/client.ts';
import { ErrorReply } from '../resp/reply.ts';
import { quoted, SYNTAX_ERROR } from './replies.ts';

export type ClientFilter = (client: Client) => boolean;

/** TYPE's argument. Servers of the cluster are no clients of each other, so nobody is a master or a replica. */
export function filterByType(type: Uint8Array): ClientFilter | ErrorReply {
  switch (latin1(type).toLowerCase()) {
    case 'normal':
      return (client) => !client.subscribed;
    case 'pubsub':
      return (client) => client.subscribed;
    case 'master':
    case 'slave':
    case 'replica':
      return () => false;
    default:
      return new ErrorReply('ERR', `Unknown client type '${quoted(type)}'`);
  }
}

/** CLIENT KILL option value [option value ...]: who fits all of them. By default the one who asks is spared. */
export function killFilter(argv: readonly Uint8Array[], self: Client): ClientFilter | ErrorReply {
  // An option that is given again replaces what it was before.
  const filters = new Map<string, ClientFilter>([['skipme', (client) => client !== self]]);
  for (let i = 2; i < argv.length; i += 2) {
    const option = latin1(argv[i]!).toLowerCase();
    const value = argv[i + 1];
    const filter = value === undefined ? SYNTAX_ERROR : filterBy(option, value, self);
    if (filter instanceof ErrorReply) return filter;
    filters.set(option, filter);
  }
  return (client) => [...filters.values()].every((filter) => filter(client));
}

function filterBy(option: string, value: Uint8Array, self: Client): ClientFilter | ErrorReply {
  const text = quoted(value);
  switch (option) {
    case 'id':
      return filterById(value);
    case 'type':
      return filterByType(value);
    case 'addr':
      return (client) => client.address === text;
    case 'laddr':
      return (client) => client.localAddress === text;
    case 'user':
      // There is one user, and every client is it before AUTH too.
      return latin1(value) === 'default' ? () => true : new ErrorReply('ERR', `No such user '${text}'`);
    case 'skipme':
      return filterSelf(latin1(value).toLowerCase(), self);
    default:
      return SYNTAX_ERROR;
  }
}

function filterById(value: Uint8Array): ClientFilter | ErrorReply {
  const id = parseInteger(value);
  if (id === undefined || id < 1) return new ErrorReply('ERR', 'client-id should be greater than 0');
  return (client) => client.id === Number(id);
}

function filterSelf(word: string, self: Client): ClientFilter | ErrorReply {
  if (word === 'no') return () => true;
  return word === 'yes' ? (client) => client !== self : SYNTAX_ERROR;
}

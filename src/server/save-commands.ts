/**
 * SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE, SHUTDOWN. What a dump is in Redis, and a rewritten log, here is a checkpoint: the
 * state in the store, so that the log before it is not needed any more. Nothing depends on it being asked for; what is
 * acknowledged is in the log.
 */
import { latin1 } from '../lib/bytes.ts';
import type { Client } from '../resp/client.ts';
import { ErrorReply, OK, type Reply } from '../resp/reply.ts';
import { ADMIN_ROWS } from './admin-rows.ts';
import type { Call, ServerCommand } from './context.ts';
import { SYNTAX_ERROR } from './replies.ts';

function save({ server, request }: Call): undefined {
  server.replica.flush((error) => request.resolve(error === null ? OK : notSaved(error)));
}

export function notSaved(error: Error): ErrorReply {
  return new ErrorReply('ERR', `no checkpoint could be written: ${error.message}`);
}

/** BGSAVE [SCHEDULE]. A second one joins the first, where Redis refuses it. */
function backgroundSave({ argv, client, server }: Call): Reply {
  const isKnown = argv.length === 1 || (argv.length === 2 && latin1(argv[1]!).toLowerCase() === 'schedule');
  if (!isKnown) return SYNTAX_ERROR;
  server.replica.requestCheckpoint();
  return `Background saving ${isInTransaction(client) ? 'scheduled' : 'started'}`;
}

function rewriteLog({ client, server }: Call): Reply {
  server.replica.requestCheckpoint();
  return `Background append only file rewriting ${isInTransaction(client) ? 'scheduled' : 'started'}`;
}

/** EXEC carries out the command: Redis begins nothing in the midst of a transaction. */
function isInTransaction({ queued }: Client): boolean {
  return queued >= 0;
}

/** SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE] [ABORT]. Nothing can be lost, so the options make no difference. */
function shutdown({ argv, client, server }: Call): Reply | undefined {
  const words = new Set(argv.slice(1).map((arg) => latin1(arg).toLowerCase()));
  const isKnown = [...words].every((word) => ['nosave', 'save', 'now', 'force', 'abort'].includes(word));
  const isBoth = words.has('nosave') && words.has('save');
  if (!isKnown || isBoth || (words.has('abort') && argv.length > 2)) return SYNTAX_ERROR;
  if (words.has('abort')) return new ErrorReply('ERR', 'No shutdown in progress.');
  server.log.notice('SHUTDOWN', { client: client.address });
  // There is no reply, as in Redis: that the connection closes is the answer.
  client.outlet?.destroy();
  server.shutdown();
  return undefined;
}

export const saveCommands: readonly ServerCommand[] = [
  {
    ...ADMIN_ROWS.save,
    kind: 'barrier',
    differs: 'writes a checkpoint; acknowledged writes are on disk without it',
    run: save,
  },
  {
    ...ADMIN_ROWS.bgsave,
    kind: 'barrier',
    differs: 'begins a checkpoint; it never says that one is in progress already',
    run: backgroundSave,
  },
  {
    ...ADMIN_ROWS.bgrewriteaof,
    kind: 'barrier',
    differs: 'the same as BGSAVE: with a checkpoint the log before it is cut off',
    run: rewriteLog,
  },
  {
    ...ADMIN_ROWS.lastsave,
    kind: 'barrier',
    differs: 'the time of the last checkpoint',
    run: ({ server }) => Math.floor(server.replica.checkpoints.lastWallMs / 1000),
  },
  {
    ...ADMIN_ROWS.shutdown,
    kind: 'barrier',
    differs: 'the options make no difference: nothing acknowledged can be lost; ABORT always comes too late',
    run: shutdown,
  },
];

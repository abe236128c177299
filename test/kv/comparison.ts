/**
 * The same commands to a real redis-server and to the commands of hstore on the dumb twin, and the same bytes of RESP2
 * from both.
 */
import { expect } from 'vitest';
import { asBuffer, latin1 } from '../../src/lib/bytes.ts';
import { encodeReply, type Protocol } from '../../src/resp/encode.ts';
import type { Reply } from '../../src/resp/reply.ts';
import { ReplyWriter } from '../../src/resp/reply-writer.ts';
import { RedisServer } from './redis-server.ts';
import { Twin } from './twin-database.ts';

export type Words = readonly string[];

export function bytesOfReply(reply: Reply, protocol: Protocol = 2): string {
  const writer = new ReplyWriter();
  encodeReply(reply, protocol, writer);
  return latin1(asBuffer(Buffer.concat(writer.take())));
}

export class Comparison {
  readonly redis: RedisServer;

  private constructor(redis: RedisServer) {
    this.redis = redis;
  }

  static async start(): Promise<Comparison> {
    return new Comparison(await RedisServer.start());
  }

  stop(): Promise<void> {
    return this.redis.stop();
  }

  /** On empty servers. SELECT is understood; time goes on by as much as it goes on for Redis, roughly. */
  async expectSame(commands: readonly Words[]): Promise<void> {
    const theirs = await this.redis.run([['FLUSHALL'], ['SELECT', '0'], ...commands]);
    expect(transcript(commands, ours(commands))).toEqual(transcript(commands, theirs.slice(2)));
  }
}

function ours(commands: readonly Words[]): string[] {
  const twin = new Twin();
  let db = 0;
  return commands.map((argv) => {
    if (argv[0] === 'SELECT') {
      db = Number(argv[1]);
      return '+OK\r\n';
    }
    twin.nowMs = Date.now();
    return bytesOfReply(twin.run(argv, db));
  });
}

/** Replies beside what they answer, so that a difference shows where it is. */
function transcript(commands: readonly Words[], replies: readonly string[]): string[] {
  return replies.map(
    (reply, i) => `${JSON.stringify(commands[i]).slice(0, 200)} -> ${JSON.stringify(reply)}`,
  );
}

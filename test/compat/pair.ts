/**
 * hstore and Redis side by side: one server of each, asked the same, compared byte by byte.
 *
 * A redis-server must be there: without one these tests fail.
 */
import { expect } from 'vitest';
import { ProcessCluster, until } from '../e2e/processes.ts';
import { RedisServer } from '../resp/redis-server.ts';
import { type Normalise, normaliseReply } from './normalise.ts';
import { converse, type Step, splitReplies } from './wire.ts';

export interface PairOptions {
  /** Must mean the same to both. */
  readonly flags?: readonly string[];
  readonly redisFlags?: readonly string[];
  /** What a client has to say before it may GET. */
  readonly first?: readonly Step[];
}

export class Pair {
  readonly hstore: ProcessCluster;
  readonly redis: RedisServer;

  private constructor(hstore: ProcessCluster, redis: RedisServer) {
    this.hstore = hstore;
    this.redis = redis;
  }

  static async start(options: PairOptions = {}): Promise<Pair> {
    const { flags = [], redisFlags = [], first = [] } = options;
    const redis = await RedisServer.start([...flags, ...redisFlags]);
    const hstore = await ProcessCluster.make(1, flags);
    const pair = new Pair(hstore, redis);
    hstore.servers[0]!.start();
    await until(() => hstore.servers[0]!.output.includes('Ready to accept connections'), 20_000);
    // From the first reply on it leads.
    await converse(pair.ports.hstore, [...first, ['GET', 'nothing']]);
    return pair;
  }

  async end(): Promise<void> {
    await this.redis.stop();
    await this.hstore.end();
  }

  get ports(): { hstore: number; redis: number } {
    return { hstore: this.hstore.servers[0]!.port, redis: this.redis.port };
  }

  /** Both answer the steps, sent in one write on a new connection, with the same bytes. */
  async expectSame(steps: readonly Step[], normalise: readonly Normalise[] = []): Promise<void> {
    const [ours, theirs] = await Promise.all([
      converse(this.ports.hstore, steps),
      converse(this.ports.redis, steps),
    ]);
    expect(transcript(steps, ours, normalise)).toEqual(transcript(steps, theirs, normalise));
  }

  /** For several clients, where the order of what they do matters: `story` makes them, and returns what they saw. */
  async expectSameStory(story: (port: number) => Promise<unknown>): Promise<void> {
    const [ours, theirs] = await Promise.all([story(this.ports.hstore), story(this.ports.redis)]);
    expect(ours).toEqual(theirs);
  }
}

/** Replies beside what they answer, so that a difference shows where it is. */
function transcript(steps: readonly Step[], output: string, normalise: readonly Normalise[]): string[] {
  const asked = [...steps, ['QUIT']].map((step) => JSON.stringify(step).slice(0, 200));
  const replies = splitReplies(output).map((reply) => normaliseReply(reply, normalise));
  return replies.map((reply, i) => `${asked[i] ?? '(more)'} -> ${JSON.stringify(reply)}`);
}

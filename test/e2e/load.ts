/**
 * Clients that write for as long as they are told to, and know afterwards what must be there.
 */
import type { Redis } from 'ioredis';
import { expect } from 'vitest';
import { connect, pause, redisCli } from './processes.ts';

/** Whether the error leaves open what became of the command. */
function isUnknown(error: unknown): boolean {
  return !(error instanceof Error && error.message.startsWith('CLUSTERDOWN'));
}

abstract class Load {
  lastAcknowledgedMs = 0;
  longestWaitMs = 0;
  protected acknowledged = 0;
  protected unknown = 0;
  #stopping = false;
  readonly #loops: Promise<void>[];
  readonly #clients: Redis[] = [];

  constructor(ports: readonly number[]) {
    this.#loops = ports.map((port, i) => this.#loop(port, i));
  }

  protected abstract write(redis: Redis, client: number): Promise<void>;

  async #loop(port: number, client: number): Promise<void> {
    const redis = connect(port);
    this.#clients.push(redis);
    while (!this.#stopping) {
      const startedMs = performance.now();
      try {
        await this.write(redis, client);
        this.acknowledged++;
        this.lastAcknowledgedMs = performance.now();
        this.longestWaitMs = Math.max(this.longestWaitMs, this.lastAcknowledgedMs - startedMs);
      } catch (error) {
        if (isUnknown(error)) this.unknown++;
        await pause(20);
      }
    }
  }

  /** The longest wait since it was asked for last. */
  takeLongestWaitMs(): number {
    const { longestWaitMs } = this;
    this.longestWaitMs = 0;
    return longestWaitMs;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#loops);
    for (const redis of this.#clients) redis.disconnect();
    expect(this.acknowledged).toBeGreaterThan(100);
  }
}

/** INCRs of one counter: each acknowledged one counts once, each unknown one once or not at all. */
export class CounterLoad extends Load {
  protected override async write(redis: Redis): Promise<void> {
    await redis.incr('counter');
  }

  check(value: number): void {
    expect(value).toBeGreaterThanOrEqual(this.acknowledged);
    expect(value).toBeLessThanOrEqual(this.acknowledged + this.unknown);
  }
}

/** APPENDs of numbered tokens, a list per client: shows what was lost, doubled or put in the wrong order. */
export class ListLoad extends Load {
  readonly #acknowledgedTokens = new Map<number, number[]>();
  #nextToken = 0;

  protected override async write(redis: Redis, client: number): Promise<void> {
    const token = this.#nextToken++;
    await redis.append(`list${client}`, `${token};`);
    const tokens = this.#acknowledgedTokens.get(client) ?? [];
    this.#acknowledgedTokens.set(client, tokens);
    tokens.push(token);
  }

  check(port: number): void {
    for (const [client, tokens] of this.#acknowledgedTokens) {
      const list = redisCli(port, 'get', `list${client}`).output.trim().split(';').slice(0, -1).map(Number);
      expect(new Set(list).size, 'no token twice').toBe(list.length);
      expect(list, 'in the order in which they were sent').toEqual([...list].sort((a, b) => a - b));
      const kept = new Set(list);
      expect(
        tokens.filter((token) => !kept.has(token)),
        'acknowledged and lost',
      ).toEqual([]);
    }
  }
}

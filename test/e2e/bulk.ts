/** Much data, quickly: written in pipelines, known afterwards, and what it takes on the disk. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { expect } from 'vitest';
import { connect, type ServerProcess } from './processes.ts';

const PIPELINE = 500;
const PIPELINE_BYTES = 1 << 20;

/** Keys of which every one is written again and again; each value begins with the number of its write. */
export class Bulk {
  readonly #keys: number;
  readonly #valueBytes: number;
  #written = 0;

  constructor(options: { readonly keys: number; readonly valueBytes: number }) {
    this.#keys = options.keys;
    this.#valueBytes = options.valueBytes;
  }

  /** `count` more writes; throws when one is refused. */
  async write(port: number, count: number): Promise<void> {
    const redis = connect(port);
    const atOnce = Math.max(1, Math.min(PIPELINE, Math.floor(PIPELINE_BYTES / this.#valueBytes)));
    for (let left = count; left > 0; left -= atOnce) {
      const pipeline = redis.pipeline();
      for (let i = 0; i < Math.min(left, atOnce); i++, this.#written++) {
        pipeline.set(`bulk${this.#written % this.#keys}`, this.#value(this.#written));
      }
      for (const [error] of (await pipeline.exec()) ?? []) if (error !== null) throw error;
    }
    redis.disconnect();
  }

  /** That every key has its last value. */
  async check(port: number): Promise<void> {
    const redis = connect(port);
    const first = Math.max(0, this.#written - this.#keys);
    for (let number = first; number < this.#written; number++) await this.#checkOne(redis, number);
    redis.disconnect();
  }

  async #checkOne(redis: Redis, number: number): Promise<void> {
    const value = await redis.get(`bulk${number % this.#keys}`);
    if (value !== this.#value(number)) expect(value?.slice(0, 20)).toBe(this.#value(number).slice(0, 20));
  }

  #value(number: number): string {
    return `${number}:`.padEnd(this.#valueBytes, 'x');
  }
}

export function bytesIn({ directory }: ServerProcess, part: 'wal' | 'store'): number {
  const path = join(directory, part);
  return readdirSync(path).reduce((sum, name) => {
    return sum + (statSync(join(path, name), { throwIfNoEntry: false })?.size ?? 0);
  }, 0);
}

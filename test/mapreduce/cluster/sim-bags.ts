/**
 * Words in bags, each bag a key: clients move words from one to another, always by transactions, so that whoever reads all
 * bags as they were at one and the same moment finds all words.
 */
import { fromLatin1, latin1 } from '../../../src/lib/bytes.ts';
import { NullArrayReply, type Reply } from '../../../src/resp/reply.ts';
import { call, outcomeOf, type Request } from '../../sim/calls.ts';
import type { Cluster } from '../../sim/cluster.ts';
import type { SimRandom } from '../../sim/random.ts';
import { BAGS, bagKey } from './sim-job-plans.ts';

const PAUSE_MEAN_MS = 50;
const FILL_AGAIN_MS = 200;

export class Bags {
  moves = 0;
  readonly #cluster: Cluster;
  readonly #random: SimRandom;

  constructor(cluster: Cluster, random: SimRandom) {
    this.#cluster = cluster;
    this.#random = random;
  }

  /** All words into some of the bags, at once. Before anybody reads. */
  async fill(words: readonly string[]): Promise<void> {
    const bags = Array.from({ length: BAGS }, (): string[] => []);
    for (const word of words) this.#random.pick(bags).push(word);
    const argv = ['MSET', ...bags.flatMap((bag, i) => [bagKey(i), bag.join(' ')])];
    for (;;) {
      const reply = await this.#ask({ kind: 'command', argv });
      if (reply === 'OK') return;
      await this.#sleep(FILL_AGAIN_MS);
    }
  }

  async move(untilMs: number): Promise<void> {
    const { scheduler } = this.#cluster;
    while (scheduler.nowMs < untilMs) {
      await this.#moveOne();
      await this.#sleep(this.#random.exponential(PAUSE_MEAN_MS));
    }
  }

  async #moveOne(): Promise<void> {
    const from = this.#random.below(BAGS);
    const keys = [bagKey(from), bagKey((from + 1 + this.#random.below(BAGS - 1)) % BAGS)];
    const versions = await this.#ask({ kind: 'versions', keys });
    if (!Array.isArray(versions)) return;
    const held = await this.#ask({ kind: 'command', argv: ['MGET', ...keys] });
    if (!Array.isArray(held)) return;
    const [source, target] = held.map((value) => wordsOf(latin1(value as Uint8Array))) as [
      string[],
      string[],
    ];
    const word = source.shift();
    if (word === undefined) return;
    const after = [source, [...target, word]];
    const watched = keys.map((key, i) => ({ db: 0, key: fromLatin1(key), version: versions[i] as number }));
    const commands = keys.map((key, i) => ({
      db: 0,
      argv: ['SET', key, after[i]!.join(' ')].map(fromLatin1),
    }));
    const reply = await this.#ask({ kind: 'transaction', transaction: { watched, commands } });
    if (outcomeOf(reply) === 'replied' && !(reply instanceof NullArrayReply)) this.moves++;
  }

  #ask(request: Request): Promise<Reply | undefined> {
    const { serving, scheduler } = this.#cluster;
    return new Promise((resolve) => {
      call(this.#cluster, this.#random.pick(serving), request, (reply) => {
        scheduler.settle();
        resolve(reply);
      });
    });
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.#cluster.scheduler.after(ms, undefined, resolve, true));
  }
}

function wordsOf(bag: string): string[] {
  return bag.split(' ').filter((word) => word !== '');
}

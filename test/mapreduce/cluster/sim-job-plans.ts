/**
 * The jobs of a seed: what each counts, where its result goes, what is to happen to it, and what must come of it.
 */
import type { SimRandom } from '../../sim/random.ts';
import { wordCount } from '../naive-task.ts';
import { POISON, VENOM } from './sim-worker.ts';

export interface JobPlan {
  readonly token: string;
  readonly submitAtMs: number;
  /** Paths and contents; undefined: the bags of words that are stored as keys. */
  readonly files: readonly (readonly [path: string, text: string])[] | undefined;
  readonly keySplits: number;
  readonly reduces: number;
  /** Of the keys that the result becomes; undefined: it is kept as it is. */
  readonly prefix: string | undefined;
  /** It cannot be done, on any server. */
  readonly doomed: boolean;
  /** How long after its submission it is cancelled, if it still can be. */
  readonly cancelAfterMs: number | undefined;
  /** By two clients at the same time. */
  readonly twice: boolean;
  readonly purgedEarly: boolean;
  /** What a naive count says, if it is not doomed. */
  readonly lines: string;
  readonly words: number;
}

export interface PlanWorld {
  readonly jobs: number;
  readonly forMs: number;
  readonly cancelled: number;
  /** The words of all bags together, whatever is moved between them. */
  readonly bagWords: readonly string[];
}

export const BAGS = 12;
const CANCELLED_MEAN_MS = 2500;
const VOCABULARY = ['a', 'be', 'can', 'dare', 'every', 'famous', 'genuine', 'handsome', 'i', 'just', 'kind'];

/** Shuffled by nothing but the seed. */
export function bagWordsOf(random: SimRandom): string[] {
  return Array.from({ length: 60 }, () => random.pick(VOCABULARY));
}

export function bagKey(bag: number): string {
  return `bag:${bag}`;
}

export function drawPlans(random: SimRandom, world: PlanWorld): JobPlan[] {
  return Array.from({ length: world.jobs }, (_, i) => drawPlan(random, i, world));
}

function drawPlan(random: SimRandom, i: number, { forMs, bagWords, cancelled }: PlanWorld): JobPlan {
  const token = `token-${i}`;
  const readsKeys = random.chance(0.4);
  const doomed = !readsKeys && random.chance(0.1);
  const texts = readsKeys ? [bagWords.join(' ')] : drawTexts(random, doomed);
  const lines = wordCount(texts);
  return {
    token,
    submitAtMs: random.between(0.1, 0.9) * forMs,
    files: readsKeys ? undefined : texts.map((text, file) => [`input/${i}/${file}`, text]),
    keySplits: 1 + random.below(20),
    reduces: 1 + random.below(5),
    prefix: random.chance(0.4) ? `out:${i}:` : undefined,
    doomed,
    cancelAfterMs: random.chance(cancelled) ? random.exponential(CANCELLED_MEAN_MS) : undefined,
    twice: random.chance(0.2),
    purgedEarly: random.chance(0.2),
    lines,
    words: texts.join(' ').split(/\s+/).length,
  };
}

function drawTexts(random: SimRandom, doomed: boolean): string[] {
  const texts = Array.from({ length: 1 + random.below(random.pick([4, 20])) }, () =>
    Array.from({ length: 5 + random.below(20) }, () => random.pick(VOCABULARY)).join(' '),
  );
  if (!doomed) return texts;
  const at = random.below(texts.length);
  return texts.map((text, i) => (i === at ? `${text} ${random.pick([POISON, VENOM])}` : text));
}

/** Keys and values that the result becomes. */
export function pairsOf({ prefix, lines }: JobPlan): (readonly [key: string, value: string])[] {
  const rows = lines.split('\n').filter((line) => line !== '');
  return rows.map((line) => {
    const [word, count] = line.split(': ') as [string, string];
    return [`${prefix}${word}`, count];
  });
}

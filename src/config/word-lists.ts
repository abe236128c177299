/**
 * Directives whose value is several words, or one with rules of its own, as Redis 7.0's config.c has them: from what a
 * person writes to the text that CONFIG GET shows.
 */
import { memoryBytes, type Parsed } from './value.ts';

/** What the replies of a client may cost in memory before it is disconnected; 0: no limit. */
export interface OutputBufferLimit {
  readonly hardBytes: number;
  /** Only when it is over this for `softSeconds` without a break. */
  readonly softBytes: number;
  readonly softSeconds: number;
}

export type OutputBufferLimits = Readonly<Record<'normal' | 'replica' | 'pubsub', OutputBufferLimit>>;

/** Redis shows the old word for a replica. */
const OUTPUT_CLASSES: Readonly<Record<string, string>> = {
  ...{ normal: 'normal', slave: 'slave', replica: 'slave', pubsub: 'pubsub' },
};
/** CLASS HARD SOFT SECONDS. */
const OUTPUT_LIMIT_WORDS = 4;

/** `normal 0 0 0 replica 256mb 64mb 60 ...`: classes that are not named stay as they are in `current`. */
export function parseOutputBufferLimits(text: string, current: string): Parsed {
  if (text === '') return { ok: true, value: current };
  const words = text.split(' ');
  if (words.length % OUTPUT_LIMIT_WORDS !== 0) {
    return refused('Wrong number of arguments in buffer limit configuration.');
  }
  const limits = new Map(groupsOf(current === '' ? [] : current.split(' ')));
  for (const [className, numbers] of groupsOf(words)) {
    const shown = OUTPUT_CLASSES[className.toLowerCase()];
    if (shown === undefined) return refused('Invalid client class specified in buffer limit configuration.');
    const [hard, soft] = numbers.slice(0, 2).map(memoryBytes);
    const seconds = /^\d{1,9}$/.test(numbers[2]!) ? Number(numbers[2]) : undefined;
    if (hard === undefined || soft === undefined || seconds === undefined) {
      return refused('Error in hard, soft or soft_seconds setting in buffer limit configuration.');
    }
    limits.set(shown, [hard, soft, seconds].map(String));
  }
  const value = [...limits].map(([className, numbers]) => [className, ...numbers].join(' ')).join(' ');
  return { ok: true, value };
}

function groupsOf(words: readonly string[]): [className: string, numbers: string[]][] {
  const groups: [string, string[]][] = [];
  for (let i = 0; i < words.length; i += OUTPUT_LIMIT_WORDS) {
    groups.push([words[i]!, words.slice(i + 1, i + OUTPUT_LIMIT_WORDS)]);
  }
  return groups;
}

/** Of a value as `parseOutputBufferLimits` makes it. */
export function outputBufferLimits(value: string): OutputBufferLimits {
  const limits = new Map(groupsOf(value.split(' ')));
  const limitOf = (className: string): OutputBufferLimit => {
    const [hardBytes = 0, softBytes = 0, softSeconds = 0] = (limits.get(className) ?? []).map(Number);
    return { hardBytes, softBytes, softSeconds };
  };
  return { normal: limitOf('normal'), replica: limitOf('slave'), pubsub: limitOf('pubsub') };
}

/** Percentiles between 0 and 100, with up to six digits behind the point. */
export function parsePercentiles(text: string): Parsed {
  const words = text === '' ? [] : text.split(' ');
  const isNumber = (word: string) => /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.test(word);
  if (!words.every(isNumber)) return refused('Invalid latency-tracking-info-percentiles parameters');
  const percentiles = words.map(Number);
  if (percentiles.some((each) => each < 0 || each > 100)) {
    return refused('latency-tracking-info-percentiles parameters should sit between [0.0,100.0]');
  }
  const shown = percentiles.map((each) => `${Number(each.toFixed(6))}`);
  return { ok: true, value: shown.join(' ') };
}

/** A size, or a share of the memory of the machine: `1gb`, `5%`. */
export function parseMemoryOrPercent(text: string): Parsed {
  const [, digits] = /^(0|[1-9]\d{0,14})%$/.exec(text) ?? [];
  if (digits === undefined) {
    const bytes = memoryBytes(text);
    return bytes === undefined
      ? refused('argument must be a memory or percent value')
      : { ok: true, value: `${bytes}` };
  }
  const percent = Number(digits);
  if (percent > 100) return refused('percentage argument must be less or equal to 100');
  return { ok: true, value: percent === 0 ? '0' : `${percent}%` };
}

/** Pairs of seconds and changes. */
export function parseSave(text: string): Parsed {
  if (text === '') return { ok: true, value: '' };
  const words = text.split(' ');
  const valid = words.every((word, i) => /^\d{1,18}$/.test(word) && Number(word) >= (i % 2 === 0 ? 1 : 0));
  if (!valid || words.length % 2 !== 0) return refused('Invalid save parameters');
  return { ok: true, value: words.map((word) => `${Number(word)}`).join(' ') };
}

/** notify.c: the classes of events in Redis's order, `A` for all of them; `n` and `m` are in no `A`. */
const EVENT_CLASSES = 'g$lshzxetd';

export function parseEvents(text: string): Parsed {
  if (!/^[Ag$lshzxeKEtmdn]*$/.test(text)) {
    return refused("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
  }
  const has = (letter: string): boolean =>
    text.includes(letter) || (text.includes('A') && EVENT_CLASSES.includes(letter));
  const chosen = [...EVENT_CLASSES].filter(has).join('');
  const classes = chosen === EVENT_CLASSES ? 'A' : chosen + (has('n') ? 'n' : '');
  return { ok: true, value: classes + ['K', 'E', 'm'].filter(has).join('') };
}

const TLS_VERSIONS = ['TLSv1.2', 'TLSv1.3'];

/** Versions of TLS in any order and case. Older ones than these are not spoken. */
export function parseTlsProtocols(text: string): Parsed {
  const words = text.toLowerCase().split(' ');
  const isKnown = (word: string) => TLS_VERSIONS.some((version) => version.toLowerCase() === word);
  if (!words.every(isKnown)) return refused(`argument must be of ${TLS_VERSIONS.join(' and ')}`);
  const chosen = TLS_VERSIONS.filter((version) => words.includes(version.toLowerCase()));
  return { ok: true, value: chosen.join(' ') };
}

function refused(reason: string): Parsed {
  return { ok: false, reason };
}

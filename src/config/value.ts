/**
 * Values of directives: from what a person writes to the one text that CONFIG GET shows, or to the reason why not.
 *
 * Forms, units and error texts are those of Redis 7.0's config.c: memory takes b, k, kb, m, mb, g, gb (k is 1000, kb
 * 1024), integers are written without sign or leading zeros, words in any case.
 */
import { unreachable } from '../lib/assert.ts';

export type ValueType =
  | { readonly kind: 'text'; readonly check?: (text: string) => string | undefined }
  /** Several words with a form of their own. `current` is the value until now, which the new one may only amend. */
  | { readonly kind: 'text'; readonly parse: (text: string, current: string) => Parsed }
  | { readonly kind: 'integer'; readonly min: number | bigint; readonly max: number | bigint }
  | {
      readonly kind: 'memory';
      readonly min: number;
      readonly max: number | bigint;
      readonly multipleOf?: number;
    }
  | { readonly kind: 'boolean' }
  | { readonly kind: 'choice'; readonly values: readonly string[] };

export type Parsed =
  | { readonly ok: true; readonly value: string }
  | { readonly ok: false; readonly reason: string };

const UNITS: Readonly<Record<string, number>> = {
  ...{ '': 1, b: 1, k: 1000, kb: 1024, m: 1000 ** 2, mb: 1024 ** 2, g: 1000 ** 3, gb: 1024 ** 3 },
};

export function parseValue(type: ValueType, text: string, current = ''): Parsed {
  switch (type.kind) {
    case 'text':
      return 'parse' in type ? type.parse(text, current) : checked(text, type.check?.(text));
    case 'integer':
      return parseInteger(text, type);
    case 'memory':
      return parseMemory(text, type);
    case 'boolean':
      return parseChoice(text, ['yes', 'no'], "argument must be 'yes' or 'no'");
    case 'choice': {
      const reason = `argument(s) must be one of the following: ${type.values.join(', ')}`;
      return parseChoice(text, type.values, reason);
    }
    default:
      return unreachable(type);
  }
}

function checked(value: string, reason: string | undefined): Parsed {
  return reason === undefined ? { ok: true, value } : { ok: false, reason };
}

interface Range {
  readonly min: number | bigint;
  readonly max: number | bigint;
}

function parseInteger(text: string, range: Range): Parsed {
  const value = /^(0|-?[1-9]\d{0,18})$/.test(text) ? BigInt(text) : undefined;
  // What does not fit in 64 bits is no integer to Redis.
  if (value === undefined || BigInt.asIntN(64, value) !== value) {
    return { ok: false, reason: "argument couldn't be parsed into an integer" };
  }
  return inRange(value, range);
}

function parseMemory(text: string, type: Range & { readonly multipleOf?: number }): Parsed {
  const bytes = memoryBytes(text);
  if (bytes === undefined) return { ok: false, reason: 'argument must be a memory value' };
  if (bytes % (type.multipleOf ?? 1) !== 0) {
    return { ok: false, reason: `argument must be a multiple of ${type.multipleOf}` };
  }
  return inRange(bytes, type);
}

/** Undefined when the text is no size: digits, and perhaps a unit. */
export function memoryBytes(text: string): number | undefined {
  const [, digits, unit] = /^(\d{1,15})([a-z]*)$/i.exec(text) ?? [];
  const factor = unit === undefined ? undefined : UNITS[unit.toLowerCase()];
  return digits === undefined || factor === undefined ? undefined : Number(digits) * factor;
}

function inRange(value: number | bigint, { min, max }: Range): Parsed {
  return checked(
    `${value}`,
    value >= min && value <= max ? undefined : `argument must be between ${min} and ${max} inclusive`,
  );
}

function parseChoice(text: string, values: readonly string[], reason: string): Parsed {
  const value = values.find((each) => each === text.toLowerCase());
  return value === undefined ? { ok: false, reason } : { ok: true, value };
}

/** Whole units where they fit, as people write them: 33554432 is `32mb`. */
export function memoryText(bytes: number): string {
  for (const unit of ['gb', 'mb', 'kb']) {
    const factor = UNITS[unit]!;
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return `${bytes}`;
}

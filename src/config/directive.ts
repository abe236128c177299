/**
 * What a directive of the table is, and the forms of values that many have.
 */
import type { ValueType } from './value.ts';

export interface Directive {
  readonly name: string;
  readonly type: ValueType;
  /** As a person would write it; parsed like any other value. */
  readonly default: string;
  /**
   * `runtime`: CONFIG SET takes effect at once; `startup`: it is refused, as Redis refuses immutable ones; `fixed`:
   * there is only the one value; `hint`: any value is kept, and changes nothing.
   */
  readonly change: 'runtime' | 'startup' | 'fixed' | 'hint';
  /** What --help puts in place of the value; where it is missing, the type says it. */
  readonly argument?: string;
  /** For --help, without a full stop. Directives that only answer clients and tools have none. */
  readonly help?: string;
  /** --help shows this in place of the default. */
  readonly defaultHelp?: string;
  /** Not shown to clients. */
  readonly secret?: true;
  /** An older name of this other directive, which has the value. */
  readonly aliasOf?: string;
}

export const MB = 1024 ** 2;
export const INT_MAX = 2 ** 31 - 1;

export const TEXT: ValueType = { kind: 'text' };
export const BOOLEAN: ValueType = { kind: 'boolean' };
export const PORT: ValueType = { kind: 'integer', min: 0, max: 65535 };
export const ANY_INTEGER: ValueType = { kind: 'integer', min: -INT_MAX - 1, max: INT_MAX };
export const COUNT: ValueType = { kind: 'integer', min: 0, max: INT_MAX };
export const INT64_MAX = 2n ** 63n - 1n;
export const LONG_COUNT: ValueType = { kind: 'integer', min: 0, max: INT64_MAX };
export const SIZE: ValueType = { kind: 'memory', min: 0, max: 1024 ** 2 * MB };

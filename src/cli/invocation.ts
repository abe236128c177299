/**
 * What the program was started for: `hstore MODE [arguments]`, equally `hstore --mode MODE [arguments]` or
 * HSTORE_MODE=MODE; `--help` and `--version` before a mode, `--help` behind one.
 */

import { didYouMean } from '../config/nearest.ts';
import type { Environment } from '../config/sources.ts';
import { ConfigError } from '../lib/errors.ts';

export const MODES = ['server', 'cluster', 'mapreduce'] as const;
export type Mode = (typeof MODES)[number];

export type Invocation =
  | { readonly action: 'run'; readonly mode: Mode; readonly args: readonly string[] }
  | { readonly action: 'help'; readonly mode?: Mode }
  | { readonly action: 'version' }
  | { readonly action: 'selftest' };

/** Throws ConfigError. */
export function readInvocation(args: readonly string[], environment: Environment): Invocation {
  const [first] = args;
  if (first === 'selftest' && args.length === 1) return { action: 'selftest' };
  if (first !== undefined && !first.startsWith('-')) return ofMode(asMode(first), args.slice(1));
  const named = takeModeFlag(args);
  if (named !== undefined) return ofMode(asMode(named.mode), named.rest);
  if (first === '--version' || first === '-v') return { action: 'version' };
  if (asksForHelp(args)) return { action: 'help' };
  if (environment.HSTORE_MODE) return ofMode(asMode(environment.HSTORE_MODE), args);
  if (first === undefined) return { action: 'help' };
  throw new ConfigError(
    `${first} stands without a mode: hstore MODE ${first} ..., MODE is one of ${MODES.join(', ')}`,
  );
}

function ofMode(mode: Mode, args: readonly string[]): Invocation {
  return asksForHelp(args) ? { action: 'help', mode } : { action: 'run', mode, args };
}

function asksForHelp(args: readonly string[]): boolean {
  // Behind -- they are words of a job.
  const flags = args.includes('--') ? args.slice(0, args.indexOf('--')) : args;
  return flags.includes('--help') || flags.includes('-h');
}

function asMode(text: string): Mode {
  const mode = MODES.find((each) => each === text);
  if (mode !== undefined) return mode;
  const meant = didYouMean(text, MODES);
  throw new ConfigError(`unknown mode '${text}'${meant === '' ? `: modes are ${MODES.join(', ')}` : meant}`);
}

function takeModeFlag(args: readonly string[]): { mode: string; rest: string[] } | undefined {
  const at = args.findIndex((each) => each === '--mode' || each.startsWith('--mode='));
  if (at < 0) return undefined;
  const attached = args[at]!.startsWith('--mode=');
  const mode = attached ? args[at]!.slice('--mode='.length) : args[at + 1];
  if (mode === undefined || mode === '') throw new ConfigError('--mode needs a value');
  return { mode, rest: [...args.slice(0, at), ...args.slice(at + (attached ? 1 : 2))] };
}

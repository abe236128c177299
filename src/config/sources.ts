/**
 * Where settings come from: flags, the environment, a configuration file, in this order of precedence. This module reads
 * all three by a table of directives, and refuses what is in none of them with one line that names the nearest.
 *
 *   --command-timeout 100      --command-timeout=100
 *   HSTORE_COMMAND_TIMEOUT=100
 *   command-timeout 100        a line of the file
 */
import { assert } from '../lib/assert.ts';
import { ConfigError } from '../lib/errors.ts';
import type { Directive } from './directive.ts';
import { type ConfigFile, parseConfigFile } from './file.ts';
import { didYouMean, nearest } from './nearest.ts';
import { parseValue } from './value.ts';

export interface Setting {
  /** In its canonical form. */
  readonly value: string;
  /** As it was named: `--port`, `HSTORE_PORT`, `hstore.conf:3: port`. */
  readonly where: string;
}

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Sources {
  /** Names without dashes; of several with one name the last one counts. */
  readonly flags: readonly (readonly [name: string, value: string])[];
  readonly environment: Environment;
  readonly file?: ConfigFile | undefined;
}

/** A flag that has no value: it is there or not. */
const SWITCH_VALUE = 'yes';
/** Environment variables of hstore that are no directives of a server. */
const OTHER_VARIABLES = [
  ...['CACHE_DIR', 'CONFIG', 'MODE', 'LAUNCHER', 'NODES', 'RESTART'],
  ...['REDUCES', 'WORKERS', 'MEMORY', 'SPLIT', 'SEQUENTIAL', 'OUT', 'FORCE', 'TOP', 'SORT'],
].map((name) => `HSTORE_${name}`);
/** Directives whose value may be several words of a line. */
export const MANY_WORDS: readonly string[] = [
  ...['bind', 'save', 'client-output-buffer-limit', 'latency-tracking-info-percentiles'],
];
/** Of these, the ones to which every line of a file adds, as in redis.conf. */
const MANY_LINES = ['save'];

export interface FlagForms {
  /** Names of flags that take a value. */
  readonly valued: readonly string[];
  /** Names of flags that do not. */
  readonly switches: readonly string[];
}

/** Flags in their order; a switch has the value `yes`. Throws ConfigError. */
export function parseFlags(args: readonly string[], forms: FlagForms): [name: string, value: string][] {
  const flags: [string, string][] = [];
  for (let i = 0; i < args.length; i++) {
    const [, name, , attached] = /^--([^=]*)(=([\s\S]*))?$/.exec(args[i]!) ?? [];
    if (name === undefined) throw new ConfigError(`unexpected argument '${args[i]}'`);
    if (forms.switches.includes(name)) {
      if (attached !== undefined) throw new ConfigError(`--${name} takes no value`);
      flags.push([name, SWITCH_VALUE]);
      continue;
    }
    if (!forms.valued.includes(name)) {
      const known = [...forms.valued, ...forms.switches];
      throw new ConfigError(`unknown flag --${name}${didYouMean(name, known, (each) => `--${each}`)}`);
    }
    const value = attached ?? args[++i];
    if (value === undefined || (attached === undefined && value.startsWith('--'))) {
      throw new ConfigError(`--${name} needs a value`);
    }
    flags.push([name, value]);
  }
  return flags;
}

/** What the three sources say, by name. Throws ConfigError. */
export function gatherSettings(table: readonly Directive[], sources: Sources): Map<string, Setting> {
  const directives = new Map(table.map((directive) => [directive.name, directive]));
  const settings = new Map<string, Setting>();
  const take = (typed: string, text: string, where: string): void => {
    const directive = directives.get(typed)!;
    const name = directive.aliasOf ?? typed;
    const value = settle(directive, {
      text,
      where,
      current: settings.get(name)?.value ?? defaultOf(directive),
    });
    settings.set(name, { value, where });
  };
  if (sources.file !== undefined) takeFile(directives, sources.file, take);
  takeEnvironment(directives, sources.environment, take);
  for (const [name, value] of sources.flags) take(name, value, `--${name}`);
  return settings;
}

type Take = (name: string, text: string, where: string) => void;

function takeFile(directives: ReadonlyMap<string, Directive>, file: ConfigFile, take: Take): void {
  const seen = new Map<string, string>();
  for (const { key, words, where } of parseConfigFile(file)) {
    if (!directives.has(key)) {
      throw new ConfigError(`${where}: unknown key '${key}'${didYouMean(key, directives.keys())}`);
    }
    if (words.length > 1 && !MANY_WORDS.includes(key)) {
      throw new ConfigError(`${where}: '${key}' takes one value; one with spaces in it needs quotes`);
    }
    const text = words.join(' ');
    const before = MANY_LINES.includes(key) ? seen.get(key) : undefined;
    const all = before === undefined || before === '' || text === '' ? text : `${before} ${text}`;
    seen.set(key, all);
    take(key, all, `${where}: ${key}`);
  }
}

function takeEnvironment(
  directives: ReadonlyMap<string, Directive>,
  environment: Environment,
  take: Take,
): void {
  const names = new Map([...directives.keys()].map((name) => [variableName(name), name]));
  for (const [variable, value] of Object.entries(environment)) {
    if (!variable.startsWith('HSTORE_') || value === undefined) continue;
    const name = names.get(variable);
    if (name !== undefined) take(name, value, variable);
    else refuseMistyped(variable, [...names.keys()]);
  }
}

/**
 * The environment is not ours alone (Kubernetes puts HSTORE_SERVICE_HOST there for a service of that name), so what is
 * unknown is left alone, unless it looks just like one of ours.
 */
function refuseMistyped(variable: string, known: readonly string[]): void {
  if (OTHER_VARIABLES.includes(variable)) return;
  const prefix = 'HSTORE_'.length;
  const meant = nearest(
    variable.slice(prefix),
    known.map((each) => each.slice(prefix)),
  );
  if (meant !== undefined && Math.abs(meant.length - (variable.length - prefix)) <= 1) {
    throw new ConfigError(`unknown environment variable ${variable}: did you mean HSTORE_${meant}?`);
  }
}

/** In its canonical form. */
export function defaultOf({ name, type, default: text }: Directive): string {
  const parsed = parseValue(type, text);
  assert(parsed.ok, 'a default is a valid value', name, text);
  return parsed.value;
}

export function variableName(directive: string): string {
  return `HSTORE_${directive.toUpperCase().replaceAll('-', '_')}`;
}

function settle(directive: Directive, said: { text: string; where: string; current: string }): string {
  const { type } = directive;
  const { text, where, current } = said;
  const parsed = parseValue(type, text, current);
  const shown = directive.secret || directive.name === 'requirepass' ? 'value' : `value '${text}'`;
  if (!parsed.ok) {
    const meant = type.kind === 'choice' ? didYouMean(text, type.values) : '';
    const valid = type.kind === 'choice' ? `valid are ${type.values.join(', ')}` : parsed.reason;
    throw new ConfigError(`invalid ${shown} for ${where}${meant === '' ? ':' : `${meant} -`} ${valid}`);
  }
  if (directive.change === 'fixed' && parsed.value !== directive.default) {
    throw new ConfigError(`invalid ${shown} for ${where}: in hstore it is always '${directive.default}'`);
  }
  return parsed.value;
}

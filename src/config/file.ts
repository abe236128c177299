/**
 * Configuration files in the form of redis.conf: one `key value` a line, `#` before a comment that fills its line, values
 * quoted as on an inline command line ("..." with escapes, '...' without).
 */
import { ConfigError } from '../lib/errors.ts';
import { splitInlineCommand } from '../resp/inline-command.ts';

export interface ConfigFile {
  /** As the user named it; for messages. */
  readonly path: string;
  readonly text: string;
}

export interface ConfigLine {
  /** Lower case. */
  readonly key: string;
  /** At least one. */
  readonly words: readonly string[];
  /** `hstore.conf:3`. */
  readonly where: string;
}

/** Throws ConfigError that names the line. */
export function parseConfigFile({ path, text }: ConfigFile): ConfigLine[] {
  const lines: ConfigLine[] = [];
  text
    .replace(/^\uFEFF/, '')
    .split('\n')
    .forEach((line, i) => {
      const trimmed = line.trim();
      if (trimmed !== '' && !trimmed.startsWith('#')) lines.push(parseLine(trimmed, `${path}:${i + 1}`));
    });
  return lines;
}

function parseLine(line: string, where: string): ConfigLine {
  if (line.includes('\0')) throw new ConfigError(`${where}: a line of text has no NUL in it`);
  const words = splitInlineCommand(new TextEncoder().encode(line))?.map((word) =>
    new TextDecoder().decode(word),
  );
  if (words === undefined) throw new ConfigError(`${where}: unbalanced quotes`);
  const [key = '', ...values] = words;
  if (values.length === 0) throw new ConfigError(`${where}: '${key}' needs a value`);
  return { key: key.toLowerCase(), words: values, where };
}

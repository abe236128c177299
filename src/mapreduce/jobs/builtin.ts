/** The jobs that hstore brings along, by name. */
import { unreachable } from '../../lib/assert.ts';
import type { BuiltinName, JobSpec } from '../tasks.ts';
import type { ByteJob } from './byte-job.ts';
import { grep } from './grep.ts';
import { invertedIndex } from './inverted-index.ts';
import { sortLines } from './sort-lines.ts';
import { wordCount } from './word-count.ts';

/** Throws ConfigError for arguments that do not fit. */
export function builtinJob(name: BuiltinName, args: JobSpec['args']): ByteJob {
  switch (name) {
    case 'wc':
      return wordCount;
    case 'ii':
      return invertedIndex;
    case 'grep':
      return grep(args);
    case 'sort':
      return sortLines;
    default:
      return unreachable(name);
  }
}

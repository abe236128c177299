/** What the built-in jobs mean, in the fewest words: strings, regular expressions, maps. For `--sequential` and tests. */
import { Buffer } from 'node:buffer';
import { unreachable } from '../../lib/assert.ts';
import type { PartRow } from '../parts.ts';
import type { BuiltinName, JobSpec } from '../tasks.ts';
import { fileHash, grepPattern, grepPrefix } from './grep.ts';
import type { JobMeaning } from './job-meaning.ts';

const WORD = /\p{L}+/gu;

/** Throws ConfigError. */
export function builtinMeaning(name: BuiltinName, args: JobSpec['args']): JobMeaning {
  switch (name) {
    case 'wc':
      return wordCount();
    case 'ii':
      return invertedIndex();
    case 'grep':
      return grep(args);
    case 'sort':
      return sortLines();
    default:
      return unreachable(name);
  }
}

function wordCount(): JobMeaning {
  const counts = new Map<string, number>();
  const counters = { words: 0, 'distinct words': 0 };
  return {
    records: 'chunk',
    counters,
    piece(piece) {
      for (const [word] of piece.toString('utf8').matchAll(WORD)) {
        counts.set(word, (counts.get(word) ?? 0) + 1);
        counters.words++;
      }
    },
    rows() {
      counters['distinct words'] = counts.size;
      return byKey([...counts].map(([word, count]) => row(word, count, `${word}: ${count}`)));
    },
  };
}

function invertedIndex(): JobMeaning {
  const documents = new Map<string, Set<string>>();
  const counters = { words: 0, 'distinct words': 0, postings: 0 };
  return {
    records: 'chunk',
    counters,
    piece(piece, file) {
      for (const [word] of piece.toString('utf8').matchAll(WORD)) {
        counters.words++;
        documents.set(word, (documents.get(word) ?? new Set()).add(file));
      }
    },
    rows() {
      counters['distinct words'] = documents.size;
      return byKey(
        [...documents].map(([word, set]) => {
          const sorted = [...set].map((document) => Buffer.from(document)).sort(Buffer.compare);
          counters.postings += sorted.length;
          return row(word, sorted.length, `${word}: ${sorted.length} ${sorted.join(',')}`);
        }),
      );
    },
  };
}

function grep(args: JobSpec['args']): JobMeaning {
  const pattern = grepPattern(args);
  const rows: (PartRow & { readonly file: string })[] = [];
  const counters = { 'matching lines': 0 };
  return {
    records: 'lines',
    counters,
    piece(piece, file) {
      for (const line of linesOf(piece)) {
        if (!pattern.test(line.toString('utf8'))) continue;
        const key = Buffer.alloc(8);
        key.writeBigUInt64BE(BigInt(rows.length));
        rows.push({ key, count: 0, line: Buffer.concat([grepPrefix(args, file), line]), file });
        counters['matching lines']++;
      }
    },
    rows: () => rows,
    partition: (key, reducers) => {
      const { file } = rows[Number(Buffer.from(key).readBigUInt64BE())]!;
      return fileHash(file) % reducers;
    },
  };
}

function sortLines(): JobMeaning {
  const lines: Buffer[] = [];
  const counters = { lines: 0 };
  return {
    records: 'lines',
    counters,
    piece(piece) {
      for (const line of linesOf(piece)) lines.push(line);
      counters.lines = lines.length;
    },
    rows: () => lines.sort(Buffer.compare).map((line) => ({ key: line, count: 0, line })),
  };
}

function linesOf(piece: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  for (let at = 0; at < piece.length; ) {
    const newline = piece.indexOf('\n', at);
    const end = newline < 0 ? piece.length : newline;
    lines.push(piece.subarray(at, end));
    at = end + 1;
  }
  return lines;
}

function row(key: string, count: number, line: string): PartRow {
  return { key: Buffer.from(key), count, line: Buffer.from(line) };
}

function byKey(rows: PartRow[]): PartRow[] {
  return rows.sort((a, b) => Buffer.compare(a.key, b.key));
}

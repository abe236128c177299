/**
 * How fast words are counted in memory, on one core: `node scripts/run-ts.mjs scripts/mapreduce-kernel.ts`, options
 * `--megabytes N` (100) and `--rounds N` (5). One line per kind of text: MB/s of the first and of the best round.
 */
import { Buffer } from 'node:buffer';
import { parseArgs } from 'node:util';
import { CountTable } from '../src/mapreduce/count-table.ts';
import { RunWriter } from '../src/mapreduce/run-writer.ts';
import { openKernel } from '../src/mapreduce/word-kernel.ts';
import { countWords, SLACK_BYTES } from '../src/mapreduce/words.ts';
import { type ZipfTextOptions, zipfText } from './bench/zipf-text.ts';

const { values } = parseArgs({
  options: { megabytes: { type: 'string', default: '100' }, rounds: { type: 'string', default: '5' } },
});
const BLOCK_BYTES = 1 << 20;

const TEXTS: Readonly<Record<string, ZipfTextOptions>> = {
  'zipf, ASCII': {},
  'zipf, accented': { accented: true },
  'uniform, 4 million words': { uniform: true, distinctWords: 4_000_000 },
};

for (const [name, options] of Object.entries(TEXTS)) {
  const bytes = Number(values.megabytes) * 1_000_000;
  const text = Buffer.alloc(bytes + SLACK_BYTES);
  let filled = 0;
  for (const chunk of zipfText(bytes, options)) filled += chunk.copy(text, filled);
  const rates: number[] = [];
  let summary = '';
  for (let round = 0; round < Number(values.rounds); round++) {
    const table = new CountTable(openKernel());
    const startedMs = performance.now();
    let words = 0;
    for (let from = 0; from < bytes; ) {
      let to = Math.min(from + BLOCK_BYTES, bytes);
      while (to < bytes && text[to] !== 0x20) to++;
      words += countWords(text, from, to, table);
      from = to;
    }
    const countedMs = performance.now();
    const run = new RunWriter({ write: () => {}, sync: () => {}, close: () => {} }, 'counts', 4);
    table.writeTo(run);
    run.finish();
    const sortMs = performance.now() - countedMs;
    rates.push(bytes / 1e3 / (countedMs - startedMs));
    summary = `${words} words, ${table.size} different, ${table.bytes >> 20} MiB, sorted and encoded in ${sortMs.toFixed(0)} ms`;
  }
  const best = Math.max(...rates).toFixed(0);
  console.log(`${name}: first ${rates[0]!.toFixed(0)} MB/s, best ${best} MB/s (${summary})`);
}

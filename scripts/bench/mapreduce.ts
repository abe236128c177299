/**
 * Counting words: `hstore mapreduce wc` against what people have at hand, `tr | sort | uniq -c`, as whole processes with
 * sorted output, on generated text. Each round runs both, one after the other; medians, their ratio, and the most memory
 * that hstore's process had (VmHWM, all threads).
 *
 *   10, 100 MB, with `large` 1 GB   Zipf's distribution over 200,000 words        accented   letters that are not ASCII
 *   uniform                         4 million words, each as frequent: the worst case for a table
 */
import { type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median } from './median.ts';
import { writeZipfText, type ZipfTextOptions } from './zipf-text.ts';

interface Text {
  readonly name: string;
  readonly megabytes: number;
  readonly options: ZipfTextOptions;
  /** So many times the pipeline, at least. */
  readonly goal?: number;
  /** And the program in Go. */
  readonly goGoal?: number;
}

const TEXTS: readonly Text[] = [
  { name: '10 MB', megabytes: 10, options: {} },
  { name: '100 MB', megabytes: 100, options: {}, goal: 6 },
  { name: '100 MB, accented', megabytes: 100, options: { accented: true }, goGoal: 1.5 },
  {
    name: '100 MB, 4 million words',
    megabytes: 100,
    options: { uniform: true, distinctWords: 4_000_000 },
    goal: 1,
  },
];
const LARGE: Text = { name: '1 GB', megabytes: 1000, options: {}, goal: 20 };
const MEMORY_MB_GOAL = 150;
const LOOK_EVERY_MS = 20;

/** The pipeline separates at every byte that is no ASCII letter, so on accented text it counts pieces of words. */
const PIPELINE = 'LC_ALL=C tr -cs A-Za-z \'\\n\' < "$1" | LC_ALL=C sort | uniq -c > /dev/null';

/** The same word count in Go, as a plain program with a map; only where Go is installed. */
const GO = `package main
import ("bufio"; "fmt"; "os"; "sort"; "unicode")
func main() {
  file, _ := os.Open(os.Args[1]); in := bufio.NewReaderSize(file, 1<<20)
  counts := map[string]*int{}; word := []byte{}
  end := func() { if len(word) == 0 { return }
    if n, ok := counts[string(word)]; ok { *n++ } else { one := 1; counts[string(word)] = &one }
    word = word[:0] }
  for { r, _, err := in.ReadRune(); if err != nil { break }
    if unicode.IsLetter(r) { word = append(word, string(r)...) } else { end() } }
  end()
  keys := make([]string, 0, len(counts)); for key := range counts { keys = append(keys, key) }
  sort.Strings(keys); out := bufio.NewWriter(os.Stdout); defer out.Flush()
  for _, key := range keys { fmt.Fprintf(out, "%s: %d\\n", key, *counts[key]) }
}
`;

interface Run {
  readonly seconds: number;
  readonly memoryMb: number;
}

export async function measureWordCount(
  program: string,
  { rounds, large }: { readonly rounds: number; readonly large: boolean },
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'hstore-bench-'));
  try {
    const go = buildGo(directory);
    if (go === undefined) console.log('Go is not installed: the comparison with a program in Go is left out');
    for (const text of large ? [...TEXTS, LARGE] : TEXTS) {
      const file = join(directory, 'text');
      writeZipfText(file, text.megabytes, text.options);
      await compare(text, { file, program, go, rounds });
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function compare(
  { name, megabytes, goal, goGoal }: Text,
  { file, program, go, rounds }: { file: string; program: string; go: string | undefined; rounds: number },
): Promise<void> {
  const ours: Run[] = [];
  const pipeline: Run[] = [];
  const inGo: Run[] = [];
  for (let round = 0; round < rounds; round++) {
    ours.push(await run(process.execPath, [program, 'mapreduce', 'wc', file]));
    pipeline.push(await run('sh', ['-c', PIPELINE, 'sh', file]));
    if (go !== undefined) inGo.push(await run(go, [file]));
  }
  const seconds = median(ours.map((each) => each.seconds));
  const ratio = median(pipeline.map((each) => each.seconds)) / seconds;
  const goRatio = go === undefined ? 0 : median(inGo.map((each) => each.seconds)) / seconds;
  const memoryMb = Math.max(...ours.map((each) => each.memoryMb));
  const parts = [
    `${(megabytes / seconds).toFixed(0)} MB/s (${seconds.toFixed(2)} s)`,
    `${ratio.toFixed(1)} times tr | sort | uniq${verdict(goal, ratio >= (goal ?? 0))}`,
    ...(go === undefined
      ? []
      : [`${goRatio.toFixed(1)} times Go${verdict(goGoal, goRatio >= (goGoal ?? 0))}`]),
    `${memoryMb.toFixed(0)} MB of memory${verdict(MEMORY_MB_GOAL, memoryMb <= MEMORY_MB_GOAL)}`,
  ];
  console.log(`wc of ${name}: ${parts.join(', ')}`);
}

function verdict(goal: number | undefined, met: boolean): string {
  return goal === undefined ? '' : ` (goal ${goal}: ${met ? 'met' : 'MISSED'})`;
}

/** To its end, its output thrown away. */
function run(command: string, args: readonly string[]): Promise<Run> {
  const startedMs = performance.now();
  const options: SpawnOptions = { stdio: ['ignore', 'ignore', 'ignore'] };
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, options);
    let memoryMb = 0;
    const look = setInterval(() => {
      memoryMb = Math.max(memoryMb, highestMb(child.pid));
    }, LOOK_EVERY_MS);
    child.on('error', reject);
    child.on('exit', (code) => {
      clearInterval(look);
      if (code !== 0) reject(new Error(`${command} ${args.join(' ')} ended with ${code}`));
      else resolve({ seconds: (performance.now() - startedMs) / 1000, memoryMb });
    });
  });
}

/** What the process had at most so far, where the system tells. */
function highestMb(pid: number | undefined): number {
  try {
    const kilobytes = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return kilobytes === undefined ? 0 : Number(kilobytes) / 1024;
  } catch {
    return 0;
  }
}

/** The program's path; undefined without Go. */
function buildGo(directory: string): string | undefined {
  const source = join(directory, 'count.go');
  const built = join(directory, 'count');
  writeFileSync(source, GO);
  return spawnSync('go', ['build', '-o', built, source]).status === 0 ? built : undefined;
}

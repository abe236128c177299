/** Word count of ASCII text, done without any of the engine: what the tests of the master and its threads let workers do. */
import type { BulkFiles } from '../../src/lib/bulk.ts';
import { PartWriter } from '../../src/mapreduce/parts.ts';
import type { JobSpec, MapTask, ReduceTask, Task, TaskDone } from '../../src/mapreduce/tasks.ts';

export function runNaively(spec: JobSpec, task: Task, files: BulkFiles): TaskDone {
  const file = `${spec.temporary}/${task.phase}${task.task}.${task.attempt}`;
  return task.phase === 'map' ? mapWords(task, file, files) : reduceWords(spec, task, file, files);
}

function mapWords({ split }: MapTask, file: string, files: BulkFiles): TaskDone {
  if (split.kind === 'bytes') throw new Error('there are files only here');
  const { from, to } = split.kind === 'range' ? split : { from: 0, to: split.fileBytes };
  const counts = new Map<string, number>();
  // A word belongs to the split in which it begins.
  for (const { 0: word, index } of textOf(split.path, files).matchAll(/[a-z]+/gi)) {
    if (index >= from && index < to) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  write(file, Buffer.from(JSON.stringify([...counts])), files);
  return { file, bytes: 0, counters: { words: [...counts.values()].reduce((sum, count) => sum + count, 0) } };
}

function reduceWords(spec: JobSpec, task: ReduceTask, file: string, files: BulkFiles): TaskDone {
  const counts = new Map<string, number>();
  for (const [word, count] of task.files.flatMap(
    (each) => JSON.parse(textOf(typeof each === 'string' ? each : each.path, files)) as [string, number][],
  )) {
    if (word.length % spec.reducers === task.task) counts.set(word, (counts.get(word) ?? 0) + count);
  }
  const writer = files.create(file);
  const part = new PartWriter(writer, spec.output);
  for (const [word, count] of [...counts].sort(([a], [b]) => (a < b ? -1 : 1))) {
    part.row({ key: Buffer.from(word), count, line: Buffer.from(`${word}: ${count}`) });
  }
  part.flush();
  writer.close();
  return { file, bytes: part.bytes, counters: { keys: counts.size } };
}

function textOf(path: string, files: BulkFiles): string {
  const reader = files.open(path);
  const content = Buffer.alloc(reader.bytes);
  reader.read(content, 0, content.length, 0);
  reader.close();
  return content.toString('latin1');
}

function write(path: string, content: Uint8Array, files: BulkFiles): void {
  const writer = files.create(path);
  writer.write(content);
  writer.close();
}

/** The output of the whole job. */
export function wordCount(texts: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const word of texts.flatMap((text) => text.match(/[a-z]+/gi) ?? [])) {
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([word, count]) => `${word}: ${count}\n`)
    .join('');
}

/** A map task: reads a split, lets the job emit, and leaves one intermediate file behind, sorted and by partition. */
import type { BulkFiles } from '../lib/bulk.ts';
import type { ByteJob, CountingJob, GatheringJob } from './jobs/byte-job.ts';
import { CountOutput, type MapOutputDone, type MapOutputOptions, RecordOutput } from './map-output.ts';
import { readSplit, type VisitInput } from './split-input.ts';
import type { TaskProgress } from './task-progress.ts';
import type { JobSpec, MapTask, TaskDone } from './tasks.ts';

export interface TaskSide<J extends ByteJob = ByteJob> {
  readonly spec: JobSpec;
  readonly job: J;
  readonly files: BulkFiles;
  readonly progress: TaskProgress;
}

/** Of input between two reports. */
const BLOCK_BYTES = 256 << 10;
const WRITES_PER_REPORT = 32;
const MEMORY_BYTES_MIN = 128 << 10;
/** Of the memory, for what a job gathers before it emits. */
const MAPPER_SHARE = 0.25;

export function runMapTask(side: TaskSide, task: MapTask): TaskDone {
  const { spec, job, files, progress } = side;
  const path = `${spec.temporary}/map-${task.task}-${task.attempt}`;
  const output: MapOutputOptions = {
    ...{ files: withSignsOfLife(files, () => progress.alive()), path },
    ...{ partitions: spec.reducers, partitioner: job.partitioner },
    memoryBytes: Math.max(spec.memoryBytes, MEMORY_BYTES_MIN),
  };
  const read = (visit: VisitInput) => {
    let before = 0;
    readSplit(task.split, files, { records: job.records, blockBytes: BLOCK_BYTES }, (block, done) => {
      visit(block, done);
      progress.advance(done - before);
      before = done;
    });
  };
  const done =
    job.gather === 'counts'
      ? mapCounts(job, { progress, output, read })
      : mapValues(job, { progress, output, read });
  if (done.spills > 0) progress.count('spilled bytes', done.spilledBytes);
  return { file: path, bytes: done.bytes, counters: progress.counters };
}

/** What is spilled and merged may be much: each so many writes tell that the task has not stopped. */
function withSignsOfLife(files: BulkFiles, alive: () => void): BulkFiles {
  let writes = 0;
  const told = (): void => {
    if (++writes % WRITES_PER_REPORT === 0) alive();
  };
  const create: BulkFiles['create'] = (path) => {
    const writer = files.create(path);
    return {
      write: (chunk) => {
        writer.write(chunk);
        told();
      },
      sync: () => writer.sync(),
      close: () => writer.close(),
    };
  };
  return {
    ...{ open: (path) => files.open(path), create, stat: (path) => files.stat(path) },
    ...{ rename: (from, to) => files.rename(from, to), remove: (path) => files.remove(path) },
    ...{ makeDirectory: (path) => files.makeDirectory(path), list: (path) => files.list(path) },
    removeDirectory: (path) => files.removeDirectory(path),
  };
}

interface Mapping {
  readonly progress: TaskProgress;
  readonly output: MapOutputOptions;
  readonly read: (visit: VisitInput) => void;
}

function mapCounts(job: CountingJob, { progress, output, read }: Mapping): MapOutputDone {
  const counts = new CountOutput(output);
  try {
    read((block) => job.map(block, counts, progress));
    return counts.finish();
  } catch (error) {
    counts.abandon();
    throw error;
  }
}

function mapValues(job: GatheringJob, { progress, output, read }: Mapping): MapOutputDone {
  const mapperBytes = Math.floor(output.memoryBytes * MAPPER_SHARE);
  const memoryBytes = output.memoryBytes - mapperBytes;
  const records = new RecordOutput({ ...output, memoryBytes, combine: job.combine });
  try {
    const mapper = job.mapper((source, from, to, value) => records.add(source, from, to, value), {
      context: progress,
      memoryBytes: mapperBytes,
    });
    read((block) => mapper.block(block));
    mapper.end();
    return records.finish();
  } catch (error) {
    records.abandon();
    throw error;
  }
}

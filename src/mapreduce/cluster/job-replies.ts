/** A job as redis-cli shows it: replies made of what the coordinator knows. */
import { Buffer } from 'node:buffer';
import { MapReply, type Reply } from '../../resp/reply.ts';
import type { JobView } from './messages.ts';

type Field = readonly [name: string, value: Reply];

/** All that is known of it. */
export function statusReply(job: JobView, nowMs: number): Reply {
  const { progress, failure, counters } = job;
  return mapOf([
    ...headOf(job),
    ['phase', text(progress?.phase ?? job.state)],
    ['elapsed-ms', Math.max(0, (job.endedMs ?? nowMs) - job.submittedMs)],
    ['maps', job.maps],
    ...(progress === undefined
      ? []
      : ([
          ['maps-done', progress.maps.done],
          ['maps-running', progress.maps.running],
        ] satisfies Field[])),
    ['reduces', job.reduces],
    ...(progress === undefined
      ? []
      : ([
          ['reduces-done', progress.reduces.done],
          ['reduces-running', progress.reduces.running],
        ] satisfies Field[])),
    ['bytes', job.bytes],
    ...(progress === undefined
      ? []
      : ([
          ['bytes-done', progress.bytes.done],
          ['failed-attempts', progress.failedAttempts],
        ] satisfies Field[])),
    ...(counters === undefined
      ? []
      : [['counters', mapOf(Object.entries(counters).sort(byName))] satisfies Field]),
    ...(failure === undefined ? [] : failureFields(failure)),
  ]);
}

/** For a list. */
export function summaryReply(job: JobView): Reply {
  return mapOf(headOf(job));
}

function headOf({ id, name, job, state, submittedMs, endedMs }: JobView): Field[] {
  return [
    ['id', id],
    ['name', text(name)],
    ['job', text(job)],
    ['state', text(state)],
    ['submitted-ms', submittedMs],
    ...(endedMs === undefined ? [] : [['ended-ms', endedMs] satisfies Field]),
  ];
}

function failureFields(failure: NonNullable<JobView['failure']>): Field[] {
  const { message, file, offset, phase, task, attempts } = failure;
  const fields: [string, Reply | undefined][] = [
    ['error', text(message)],
    ['error-file', file === undefined ? undefined : text(file)],
    ['error-offset', offset],
    ['error-phase', phase === undefined ? undefined : text(phase)],
    ['error-task', task],
    ['error-attempts', attempts],
  ];
  return fields.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}

function mapOf(fields: readonly Field[]): MapReply {
  return new MapReply(fields.map(([name, value]) => [text(name), value]));
}

/** Job names, messages and the like may hold anything, so they are bulk strings. */
export function text(value: string): Uint8Array {
  return Buffer.from(value);
}

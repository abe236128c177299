/**
 * `sort`: the lines in the order of their bytes, duplicates kept. A line is what is before `\n`; the last one needs none. The
 * sort is that of the tasks themselves: lines are keys, and equal ones are only counted.
 */
import type { CountingJob } from './byte-job.ts';
import { eachLine } from './lines.ts';

export const sortLines: CountingJob = {
  records: 'lines',
  gather: 'counts',
  map({ bytes, from, to }, counts, context) {
    let lines = 0;
    eachLine(bytes, from, to, (lineFrom, lineTo) => {
      lines++;
      counts.add(bytes, lineFrom, lineTo, 1);
    });
    context.count('lines', lines);
  },
  rows(key, count, write) {
    const row = { key, count: 0, line: key };
    for (let i = 0; i < count; i++) write(row);
  },
};

/** What sorted runs hold, as rows to compare. */
import type { BulkFiles } from '../../src/lib/bulk.ts';
import { mergePartition } from '../../src/mapreduce/merge.ts';

/** `partition key count`, in the order of the merge. */
export function countRows(
  files: BulkFiles,
  paths: readonly string[],
  partitions: number,
  fanInMax = 64,
): string[] {
  const rows: string[] = [];
  for (let partition = 0; partition < partitions; partition++) {
    mergePartition(paths, partition, { files, temporary: 'rows', fanInMax }, (merge) => {
      while (merge.nextKey())
        rows.push(`${partition} ${merge.key.toString('utf8', 0, merge.keyLength)} ${merge.sum()}`);
    });
  }
  return rows;
}

/** `partition key value,value,...` */
export function valueRows(
  files: BulkFiles,
  paths: readonly string[],
  partitions: number,
  fanInMax = 64,
): string[] {
  const rows: string[] = [];
  for (let partition = 0; partition < partitions; partition++) {
    mergePartition(paths, partition, { files, temporary: 'rows', fanInMax }, (merge) => {
      while (merge.nextKey()) {
        const key = merge.key.toString('utf8', 0, merge.keyLength);
        const values = Array.from(merge.values(), (value) => Buffer.from(value).toString());
        rows.push(`${partition} ${key} ${values.join(',')}`);
      }
    });
  }
  return rows;
}

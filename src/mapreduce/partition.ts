/**
 * Which of R output parts a key is in: FNV-1a of 32 bits without its sign bit, modulo R, as the MapReduce lab of 6.824 has
 * it (`ihash`). The same for equal keys on every machine, which is what makes all values of a key meet.
 */
export function partitionOf(bytes: Uint8Array, from: number, to: number, partitions: number): number {
  let hash = 0x811c9dc5 | 0;
  for (let i = from; i < to; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return (hash & 0x7fffffff) % partitions;
}

/** How a job parts its keys if not by the hash; see Job.partition. Equal keys, equal parts. */
export type Partitioner = (bytes: Uint8Array, from: number, to: number, partitions: number) => number;

/** Records as the user's `map` gets them, made of blocks: lines, or the block as a whole. */
import { Buffer } from 'node:buffer';
import type { MapRecord } from '../job.ts';
import type { Block, RecordKind } from './byte-job.ts';
import { eachLine } from './lines.ts';

/** What records call their file where they are stored values. */
const STORED = 'keys';

/** Its text is made when it is asked for: not every job asks. */
export class UserRecord implements MapRecord {
  readonly file: string;
  readonly offset: number;
  readonly bytes: Buffer;
  readonly key?: string;
  #text: string | undefined;

  constructor(bytes: Buffer, { file, offset, key }: { file: string; offset: number; key?: string }) {
    this.bytes = bytes;
    this.file = file;
    this.offset = offset;
    if (key !== undefined) this.key = key;
  }

  get text(): string {
    this.#text ??= this.bytes.toString('utf8');
    return this.#text;
  }
}

export function eachRecord(block: Block, records: RecordKind, visit: (record: UserRecord) => void): void {
  const { from, to, offset } = block;
  const isStored = block.key !== undefined;
  const named = isStored ? { file: STORED, key: block.file } : { file: block.file };
  const bytes = Buffer.from(block.bytes.buffer, block.bytes.byteOffset, block.bytes.byteLength);
  if (records !== 'lines') return visit(new UserRecord(bytes.subarray(from, to), { ...named, offset }));
  eachLine(bytes, from, to, (lineFrom, lineTo) => {
    visit(new UserRecord(bytes.subarray(lineFrom, lineTo), { ...named, offset: offset + lineFrom - from }));
  });
}

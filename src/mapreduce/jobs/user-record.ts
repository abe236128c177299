/** Records as the user's `map` gets them, made of blocks: lines, or the block as a whole. */
import { Buffer } from 'node:buffer';
import type { MapRecord } from '../job.ts';
import type { Block, RecordKind } from './byte-job.ts';
import { eachLine } from './lines.ts';

/** Its text is made when it is asked for: not every job asks. */
export class UserRecord implements MapRecord {
  readonly file: string;
  readonly offset: number;
  readonly bytes: Buffer;
  #text: string | undefined;

  constructor(bytes: Buffer, file: string, offset: number) {
    this.bytes = bytes;
    this.file = file;
    this.offset = offset;
  }

  get text(): string {
    this.#text ??= this.bytes.toString('utf8');
    return this.#text;
  }
}

export function eachRecord(block: Block, records: RecordKind, visit: (record: UserRecord) => void): void {
  const { from, to, file, offset } = block;
  const bytes = Buffer.from(block.bytes.buffer, block.bytes.byteOffset, block.bytes.byteLength);
  if (records !== 'lines') return visit(new UserRecord(bytes.subarray(from, to), file, offset));
  eachLine(bytes, from, to, (lineFrom, lineTo) => {
    visit(new UserRecord(bytes.subarray(lineFrom, lineTo), file, offset + lineFrom - from));
  });
}

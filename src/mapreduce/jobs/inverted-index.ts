/**
 * `ii`: which documents each word occurs in, as lines `word: N doc1,doc2,...` in the order of the words' bytes, documents by
 * the bytes of their paths, as they were given; stored keys are documents too. (The inverted index of 6.824's lab 1.)
 */
import { Buffer } from 'node:buffer';
import { CountTable } from '../count-table.ts';
import { eachWord } from '../words.ts';
import type { Block, Collect, GatheringJob, Mapper, TaskContext } from './byte-job.ts';

const COMMA = Buffer.from(',');

export const invertedIndex: GatheringJob = {
  records: 'chunk',
  gather: 'values',
  mapper: (collect, { context, memoryBytes }) => new WordsOfDocument(collect, context, memoryBytes),
  reduce(key, values, write, context) {
    const documents = distinctSorted(values);
    context.count('distinct words');
    context.count('postings', documents.length);
    const head = Buffer.from(`: ${documents.length} `);
    const separated = documents.flatMap((document, i) => (i === 0 ? [document] : [COMMA, document]));
    write({ key, count: documents.length, line: Buffer.concat([key, head, ...separated]) });
  },
};

/** A word is emitted once for a document, however often it occurs: so the table that counts is a set here. */
class WordsOfDocument implements Mapper {
  readonly #collect: Collect;
  readonly #context: TaskContext;
  readonly #memoryBytes: number;
  readonly #seen = new CountTable();
  #file = '';
  #document: Buffer = Buffer.alloc(0);

  constructor(collect: Collect, context: TaskContext, memoryBytes: number) {
    this.#collect = collect;
    this.#context = context;
    this.#memoryBytes = memoryBytes;
  }

  block({ bytes, from, to, file, key }: Block): void {
    if (file !== this.#file || key !== undefined) {
      this.#file = file;
      this.#document = Buffer.from(key ?? file);
      this.#seen.clear();
    }
    const seen = this.#seen;
    const document = this.#document;
    let words = 0;
    eachWord(bytes, from, to, (wordFrom, wordTo) => {
      words++;
      const before = seen.size;
      seen.add(bytes, wordFrom, wordTo, 1);
      if (seen.size > before) this.#collect(bytes, wordFrom, wordTo, document);
    });
    this.#context.count('words', words);
    // It forgets: a word emitted twice is found out when it is reduced.
    if (seen.bytes > this.#memoryBytes) seen.clear();
  }

  end(): void {}
}

/** The values are views that change; a document may come from several tasks. */
function distinctSorted(values: Iterable<Uint8Array>): Buffer[] {
  const documents: Buffer[] = [];
  let last: Buffer | undefined;
  for (const value of values) {
    // Tasks of one document are neighbours.
    if (last?.equals(value)) continue;
    last = Buffer.from(value);
    documents.push(last);
  }
  documents.sort(Buffer.compare);
  return documents.filter((document, i) => i === 0 || !document.equals(documents[i - 1]!));
}

/**
 * Reads a file compressed with gzip (RFC 1952, Deflate: RFC 1951) piece by piece, synchronously and in bounded memory: what
 * the runtime offers is either asynchronous or takes the whole file at once. Several members behind each other are one
 * stream, as `cat a.gz b.gz` makes it. Checksums and lengths are checked.
 *
 *   member    1f 8b | method 8 | flags | time u32 | extra, system | [extra field] [name 0] [comment 0] [crc16]
 *             Deflate blocks | crc32 u32 | length u32
 */
import { Buffer } from 'node:buffer';
import type { BulkReader } from './bulk.ts';
import { MalformedError } from './bytes.ts';
import { crc32 } from './checksum.ts';
import { FAST_BITS, HuffmanCode } from './huffman.ts';

/** The file is no gzip file, or is damaged. */
export class GunzipError extends Error {
  override readonly name = 'GunzipError';
}

const WINDOW_BYTES = 32 << 10;
const OUTPUT_BYTES = 128 << 10;
const MATCH_BYTES_MAX = 258;
const INPUT_BYTES = 64 << 10;
/** So many bytes of input are at hand for a symbol, zeros behind the end of the file. */
const AHEAD_BYTES = 32;
const END_OF_BLOCK = 256;

/** Of the length codes from 257 on, and of the distance codes: extra bits, and the least value. */
const LENGTH_EXTRA = Uint8Array.from({ length: 29 }, (_, i) => (i < 8 || i === 28 ? 0 : (i >> 2) - 1));
const LENGTH_BASE = bases(LENGTH_EXTRA, 3).fill(MATCH_BYTES_MAX, 28);
const DISTANCE_EXTRA = Uint8Array.from({ length: 30 }, (_, i) => (i < 4 ? 0 : (i >> 1) - 1));
const DISTANCE_BASE = bases(DISTANCE_EXTRA, 1);
const LENGTHS_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

const FIXED_LITERALS = Uint8Array.from({ length: 288 }, (_, i) =>
  i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8,
);
const FIXED = {
  literals: new HuffmanCode(FIXED_LITERALS),
  distances: new HuffmanCode(new Uint8Array(30).fill(5)),
};

type State = 'member' | 'block' | 'stored' | 'codes' | 'end';

export class GunzipReader {
  readonly #file: BulkReader;
  readonly #input = Buffer.alloc(INPUT_BYTES + AHEAD_BYTES);
  #inAt = 0;
  #inEnd = 0;
  /** Of the file, read into the input. */
  #filePosition = 0;
  /** Bits taken from the input and not used, the next one lowest. */
  #hold = 0;
  #bits = 0;
  readonly #output = Buffer.alloc(WINDOW_BYTES + OUTPUT_BYTES);
  /** Of the output: given to the caller up to here, and made up to there. */
  #given = 0;
  #made = 0;
  #state: State = 'member';
  #members = 0;
  #lastBlock = false;
  #storedLeft = 0;
  #codes = FIXED;
  #memberBytes = 0;
  #sum = 0;

  constructor(file: BulkReader) {
    this.#file = file;
  }

  /** Bytes of the compressed file that were used, roughly. */
  get position(): number {
    return this.#filePosition - Math.max(0, this.#inEnd - this.#inAt);
  }

  /** Puts up to so many bytes as there is room for into `target`; how many: 0 at the end. Throws GunzipError. */
  read(target: Uint8Array): number {
    if (this.#given === this.#made) {
      this.#makeRoom();
      try {
        this.#decode();
      } catch (error) {
        throw error instanceof MalformedError
          ? new GunzipError(`damaged: ${error.message}`, { cause: error })
          : error;
      }
    }
    const bytes = Math.min(target.length, this.#made - this.#given);
    target.set(this.#output.subarray(this.#given, this.#given + bytes), 0);
    this.#given += bytes;
    return bytes;
  }

  /** What was made stays as far as it may be referred to. */
  #makeRoom(): void {
    const from = Math.max(0, this.#made - WINDOW_BYTES);
    this.#output.copyWithin(0, from, this.#made);
    this.#made -= from;
    this.#given = this.#made;
  }

  /** Until there is something to give, or the end. */
  #decode(): void {
    while (this.#state !== 'end') {
      const before = this.#made;
      const ended = this.#step();
      this.#sum = crc32(this.#output.subarray(before, this.#made), this.#sum);
      this.#memberBytes += this.#made - before;
      if (ended && this.#lastBlock) this.#endMember();
      if (this.#output.length - this.#made <= OUTPUT_BYTES >> 1) return;
    }
  }

  /** True at the end of a block. */
  #step(): boolean {
    switch (this.#state) {
      case 'member':
        this.#beginMember();
        return false;
      case 'block':
        this.#beginBlock();
        return false;
      case 'stored':
        return this.#copyStored();
      case 'codes':
        return this.#decodeCodes();
      case 'end':
        return false;
    }
  }

  #beginMember(): void {
    if (this.#members > 0) {
      this.#refill();
      // Some pad to whole blocks with zeros.
      while (this.#inAt < this.#inEnd && this.#input[this.#inAt] === 0) {
        this.#inAt++;
        this.#refill();
      }
      if (this.#inAt === this.#inEnd) {
        this.#state = 'end';
        return;
      }
    }
    const [first, second, method, flags] = [this.#byte(), this.#byte(), this.#byte(), this.#byte()];
    if (first !== 0x1f || second !== 0x8b) {
      throw new GunzipError(
        this.#members === 0 ? 'not in the format of gzip' : 'damaged: garbage behind the end',
      );
    }
    if (method !== 8 || flags > 0x1f) throw new GunzipError('compressed in a way that is not known');
    for (let i = 0; i < 6; i++) this.#byte();
    if ((flags & 4) !== 0) for (let left = this.#byte() | (this.#byte() << 8); left > 0; left--) this.#byte();
    if ((flags & 8) !== 0) while (this.#byte() !== 0);
    if ((flags & 16) !== 0) while (this.#byte() !== 0);
    if ((flags & 2) !== 0) for (let i = 0; i < 2; i++) this.#byte();
    this.#members++;
    this.#memberBytes = 0;
    this.#sum = 0;
    this.#state = 'block';
  }

  #endMember(): void {
    // What is left of a byte belongs to nobody.
    this.#take(this.#bits & 7);
    const sum = (this.#take(16) | (this.#take(16) << 16)) >>> 0;
    const bytes = (this.#take(16) | (this.#take(16) << 16)) >>> 0;
    if (sum !== this.#sum) throw new GunzipError('damaged: the checksum does not hold');
    if (bytes !== this.#memberBytes % 2 ** 32) throw new GunzipError('damaged: the length does not hold');
    this.#putBack();
    this.#state = 'member';
    this.#lastBlock = false;
  }

  #beginBlock(): void {
    this.#lastBlock = this.#take(1) === 1;
    switch (this.#take(2)) {
      case 0: {
        this.#take(this.#bits & 7);
        const length = this.#take(16);
        if ((length ^ this.#take(16)) !== 0xffff)
          throw new MalformedError('the length of a block does not hold');
        this.#putBack();
        this.#storedLeft = length;
        this.#state = 'stored';
        return;
      }
      case 1:
        this.#codes = FIXED;
        break;
      case 2:
        this.#codes = this.#readCodes();
        break;
      default:
        throw new MalformedError('a block of an unknown kind');
    }
    this.#state = 'codes';
  }

  /** Codes that the block brings along, their lengths being coded themselves. */
  #readCodes(): typeof FIXED {
    const literals = this.#take(5) + 257;
    const distances = this.#take(5) + 1;
    const lengths = new Uint8Array(19);
    const given = this.#take(4) + 4;
    for (let i = 0; i < given; i++) lengths[LENGTHS_ORDER[i]!] = this.#take(3);
    if (literals > 286 || distances > 30) throw new MalformedError('a block has too many symbols');
    const code = new HuffmanCode(lengths);
    const all = new Uint8Array(literals + distances);
    for (let at = 0; at < all.length; ) {
      const symbol = this.#symbol(code);
      if (symbol < 16) {
        all[at++] = symbol;
        continue;
      }
      if (symbol === 16 && at === 0) throw new MalformedError('nothing is there to be repeated');
      const repeated = symbol === 16 ? all[at - 1]! : 0;
      const times =
        symbol === 16 ? 3 + this.#take(2) : symbol === 17 ? 3 + this.#take(3) : 11 + this.#take(7);
      if (at + times > all.length) throw new MalformedError('a block has too many code lengths');
      all.fill(repeated, at, at + times);
      at += times;
    }
    if (all[END_OF_BLOCK] === 0) throw new MalformedError('a block has no end');
    return {
      literals: new HuffmanCode(all.subarray(0, literals)),
      distances: new HuffmanCode(all.subarray(literals)),
    };
  }

  #copyStored(): boolean {
    const room = this.#output.length - this.#made;
    for (let left = Math.min(this.#storedLeft, room); left > 0; ) {
      this.#refill();
      const bytes = Math.min(left, this.#inEnd - this.#inAt);
      if (bytes <= 0) throw new MalformedError('it ends early');
      this.#input.copy(this.#output, this.#made, this.#inAt, this.#inAt + bytes);
      this.#inAt += bytes;
      this.#made += bytes;
      this.#storedLeft -= bytes;
      left -= bytes;
    }
    if (this.#storedLeft > 0) return false;
    this.#state = 'block';
    return true;
  }

  /** The loop that takes the time: numbers in local variables, tables looked up in place. */
  #decodeCodes(): boolean {
    const input = this.#input;
    const output = this.#output;
    const { literals, distances } = this.#codes;
    const fastLiterals = literals.fast;
    const fastDistances = distances.fast;
    const fastMask = (1 << FAST_BITS) - 1;
    const madeMax = output.length - MATCH_BYTES_MAX;
    let made = this.#made;
    let ended = false;
    while (made <= madeMax) {
      if (this.#inAt > this.#inEnd - AHEAD_BYTES) this.#refill();
      let inAt = this.#inAt;
      let hold = this.#hold;
      let bits = this.#bits;
      // As many symbols as the input at hand surely suffices for: one takes 48 bits at most.
      const inMax = Math.max(this.#inEnd - 8, inAt);
      do {
        while (bits <= 24) {
          hold |= input[inAt++]! << bits;
          bits += 8;
        }
        let entry = fastLiterals[hold & fastMask]!;
        if (entry === 0) entry = literals.slow(hold);
        hold >>>= entry & 15;
        bits -= entry & 15;
        const symbol = entry >>> 4;
        if (symbol < END_OF_BLOCK) {
          output[made++] = symbol;
          continue;
        }
        if (symbol === END_OF_BLOCK) {
          ended = true;
          break;
        }
        if (symbol > 285) throw new MalformedError('a length that means nothing');
        const lengthExtra = LENGTH_EXTRA[symbol - 257]!;
        const length = LENGTH_BASE[symbol - 257]! + (hold & ((1 << lengthExtra) - 1));
        hold >>>= lengthExtra;
        bits -= lengthExtra;
        while (bits <= 24) {
          hold |= input[inAt++]! << bits;
          bits += 8;
        }
        let code = fastDistances[hold & fastMask]!;
        if (code === 0) code = distances.slow(hold);
        hold >>>= code & 15;
        bits -= code & 15;
        while (bits <= 24) {
          hold |= input[inAt++]! << bits;
          bits += 8;
        }
        if (code >>> 4 > 29) throw new MalformedError('a distance that means nothing');
        const distanceExtra = DISTANCE_EXTRA[code >>> 4]!;
        const distance = DISTANCE_BASE[code >>> 4]! + (hold & ((1 << distanceExtra) - 1));
        hold >>>= distanceExtra;
        bits -= distanceExtra;
        if (distance > made) throw new MalformedError('a distance reaches behind the beginning');
        for (const end = made + length; made < end; made++) output[made] = output[made - distance]!;
      } while (inAt < inMax && made <= madeMax);
      this.#inAt = inAt;
      this.#hold = hold;
      this.#bits = bits;
      this.#checkInput();
      if (ended) break;
    }
    this.#made = made;
    if (ended) this.#state = 'block';
    return ended;
  }

  #symbol(code: HuffmanCode): number {
    while (this.#bits <= 24) this.#load();
    const entry = code.fast[this.#hold & ((1 << FAST_BITS) - 1)]! || code.slow(this.#hold);
    this.#hold >>>= entry & 15;
    this.#bits -= entry & 15;
    this.#checkInput();
    return entry >>> 4;
  }

  /** Up to 16 bits. */
  #take(count: number): number {
    while (this.#bits < count) this.#load();
    const value = this.#hold & ((1 << count) - 1);
    this.#hold >>>= count;
    this.#bits -= count;
    this.#checkInput();
    return value;
  }

  #byte(): number {
    this.#refill();
    if (this.#inAt >= this.#inEnd) throw new GunzipError('damaged: it ends early');
    return this.#input[this.#inAt++]!;
  }

  #load(): void {
    if (this.#inAt > this.#inEnd - AHEAD_BYTES) this.#refill();
    if (this.#inAt >= this.#input.length) throw new MalformedError('it ends early');
    this.#hold |= this.#input[this.#inAt++]! << this.#bits;
    this.#bits += 8;
  }

  /** Whole bytes that were taken too early. */
  #putBack(): void {
    this.#inAt -= this.#bits >> 3;
    this.#bits = 0;
    this.#hold = 0;
  }

  /** Behind the end there are zeros; whoever has used some of them has read too far. */
  #checkInput(): void {
    if (this.#inAt - (this.#bits >> 3) > this.#inEnd) throw new MalformedError('it ends early');
  }

  /** Has AHEAD_BYTES of input, or all that there is. */
  #refill(): void {
    if (this.#inEnd - this.#inAt >= AHEAD_BYTES || this.#filePosition >= this.#file.bytes) return;
    const input = this.#input;
    input.copyWithin(0, this.#inAt, this.#inEnd);
    this.#inEnd -= this.#inAt;
    this.#inAt = 0;
    const read = this.#file.read(input, this.#inEnd, INPUT_BYTES - this.#inEnd, this.#filePosition);
    if (read === 0) throw new MalformedError('it ends early');
    this.#filePosition += read;
    this.#inEnd += read;
    input.fill(0, this.#inEnd, this.#inEnd + AHEAD_BYTES);
  }
}

function bases(extra: Uint8Array, first: number): Uint16Array {
  let next = first;
  return Uint16Array.from(extra, (bits) => {
    const base = next;
    next += 1 << bits;
    return base;
  });
}

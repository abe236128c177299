import { Buffer } from 'node:buffer';
import { constants, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { GunzipError, GunzipReader } from '../../src/lib/gunzip.ts';

function unpack(packed: Uint8Array, chunkBytes = 1 << 16): Buffer {
  const reader = new GunzipReader({
    bytes: packed.length,
    read: (target, offset, length, position) => {
      const part = packed.subarray(position, position + length);
      target.set(part, offset);
      return part.length;
    },
    close: () => {},
  });
  const chunks: Buffer[] = [];
  while (true) {
    const chunk = Buffer.alloc(chunkBytes);
    const read = reader.read(chunk);
    if (read === 0) return Buffer.concat(chunks);
    chunks.push(chunk.subarray(0, read));
  }
}

/** Bytes that repeat themselves near and far, of an alphabet of any size. */
const content = fc
  .tuple(
    fc.uint8Array({ maxLength: 300 }),
    fc.integer({ min: 1, max: 400 }),
    fc.integer({ min: 0, max: 255 }),
  )
  .map(([bytes, times, step]) =>
    Buffer.concat(Array.from({ length: times }, (_, i) => bytes.map((byte) => (byte * (i + 1)) & step))),
  );
const level = fc.integer({ min: 0, max: 9 });
const { Z_DEFAULT_STRATEGY, Z_FILTERED, Z_HUFFMAN_ONLY, Z_RLE, Z_FIXED } = constants;
const strategy = fc.constantFrom(Z_DEFAULT_STRATEGY, Z_FILTERED, Z_HUFFMAN_ONLY, Z_RLE, Z_FIXED);

test('what zlib has compressed in any way is unpacked, in pieces of any size', () => {
  fc.assert(
    fc.property(
      content,
      level,
      strategy,
      fc.integer({ min: 256, max: 1 << 17 }),
      (bytes, level, strategy, chunk) => {
        expect(unpack(gzipSync(bytes, { level, strategy }), chunk).equals(bytes)).toBe(true);
      },
    ),
    { numRuns: 200 },
  );
});

test('members behind each other are one stream, and zeros behind the last are nothing', () => {
  const members = ['one', '', 'two'].map((text) => gzipSync(text));
  expect(unpack(Buffer.concat([...members, Buffer.alloc(700)])).toString()).toBe('onetwo');
});

test('a header with all that may be in one is read over', () => {
  const plain = gzipSync('text');
  const extra = Buffer.from([0x1f, 0x8b, 8, 0x1e, 0, 0, 0, 0, 0, 3, 2, 0, 7, 7, 0x6e, 0, 0x63, 0, 1, 2]);
  expect(unpack(Buffer.concat([extra, plain.subarray(10)])).toString()).toBe('text');
});

test('a file that is cut anywhere is refused', () => {
  const packed = gzipSync(Buffer.from('some text, and some more text, and some more'));
  for (let bytes = 0; bytes < packed.length; bytes++) {
    expect(() => unpack(packed.subarray(0, bytes))).toThrow(GunzipError);
  }
});

test('a file with a wrong bit is refused, or has the same content', () => {
  const bytes = Buffer.from('some text, and some more text, and some more');
  const packed = gzipSync(bytes);
  for (let bit = 0; bit < packed.length * 8; bit++) {
    const damaged = Buffer.from(packed);
    damaged[bit >> 3]! ^= 1 << (bit & 7);
    try {
      expect(unpack(damaged).equals(bytes)).toBe(true);
    } catch (error) {
      expect(error).toBeInstanceOf(GunzipError);
    }
  }
});

test('a file that is not compressed is refused with what it is not', () => {
  expect(() => unpack(Buffer.from('plain text, and not short at all'))).toThrow('not in the format of gzip');
  const garbage = Buffer.concat([gzipSync('x'), Buffer.from('garbage')]);
  expect(() => unpack(garbage)).toThrow('garbage behind the end');
});

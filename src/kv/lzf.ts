/**
 * Decompression of LZF, the format in which Redis's dumps hold longer strings.
 *
 *     000LLLLL               L + 1 bytes follow as they are
 *     LLLooooo oooooooo      the L + 2 bytes that stand o + 1 back are repeated
 *     111ooooo LLLLLLLL oooooooo    the same with L + 9
 *
 * What it is given comes from a stranger: nothing outside of input and output is ever touched.
 */

const LITERAL_CONTROL_END = 32;
const LENGTH_EXTENDED = 7;
/** What three bytes of input can become at most. */
const REPEAT_BYTES_MAX = LENGTH_EXTENDED + 255 + 2;

/** Exactly `length` bytes; undefined when the input is not the compressed form of so many. */
export function decompressLzf(input: Uint8Array, length: number): Uint8Array | undefined {
  // Before memory is taken for it.
  if (length > input.length * REPEAT_BYTES_MAX) return undefined;
  const output = new Uint8Array(length);
  let from = 0;
  let to = 0;
  while (from < input.length) {
    const control = input[from++]!;
    if (control < LITERAL_CONTROL_END) {
      const count = control + 1;
      if (from + count > input.length || to + count > length) return undefined;
      output.set(input.subarray(from, from + count), to);
      from += count;
      to += count;
    } else {
      const short = control >> 5;
      const extension = short === LENGTH_EXTENDED ? input[from++] : 0;
      const low = input[from++];
      if (extension === undefined || low === undefined) return undefined;
      const count = short + extension + 2;
      let source = to - (((control & 0x1f) << 8) | low) - 1;
      if (source < 0 || to + count > length) return undefined;
      // Byte by byte: the two places may overlap, and then what was just written is repeated.
      for (const end = to + count; to < end; to++) output[to] = output[source++]!;
    }
  }
  return to === length ? output : undefined;
}

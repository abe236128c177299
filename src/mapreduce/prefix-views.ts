/**
 * Views of the beginning of an array, by their length: each is made once. A view costs more than a short key does, and
 * there is one for every key that is reduced.
 */
const KEPT_BYTES_MAX = 64;

export class PrefixViews {
  #bytes: Uint8Array | undefined;
  #views: Uint8Array[] = [];

  /** The same view for the same length, as long as the array is the same. */
  of(bytes: Uint8Array, length: number): Uint8Array {
    if (length > KEPT_BYTES_MAX) return bytes.subarray(0, length);
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#views = Array.from({ length: KEPT_BYTES_MAX + 1 }, (_, i) =>
        bytes.subarray(0, Math.min(i, bytes.length)),
      );
    }
    return this.#views[length]!;
  }
}

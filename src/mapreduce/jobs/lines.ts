/** Lines of a block: what is between ends of line (`\n`), and behind the last one, if there is anything. */

const NEWLINE = 0x0a;

/** Calls `visit` with the ends of each line in bytes [from, to), without its `\n`. */
export function eachLine(
  bytes: Uint8Array,
  from: number,
  to: number,
  visit: (from: number, to: number) => void,
): void {
  for (let at = from; at < to; ) {
    const found = bytes.indexOf(NEWLINE, at);
    const end = found === -1 || found > to ? to : found;
    visit(at, end);
    at = end + 1;
  }
}

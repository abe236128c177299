/**
 * Inline commands: a line of words, as people type them into telnet and redis-cli --pipe passes them on.
 *
 * Words are split at white space. "..." takes the escapes \n \r \t \b \a and \xhh; '...' takes only \'. A closing quote
 * must end its word. This is sdssplitargs of Redis 7.0's sds.c, its oddities included: quotes may open inside a word
 * (`a"b c"` is one), and vertical tab and form feed part words only in front of them.
 */
const BACKSLASH = 92;
const DOUBLE_QUOTE = 34;
const SINGLE_QUOTE = 39;
const X = 120;
const ESCAPES = new Map([
  [110, 10],
  [114, 13],
  [116, 9],
  [98, 8],
  [97, 7],
]);

/** The words of `line`, which has neither line end nor NUL; undefined when its quotes are not balanced. */
export function splitInlineCommand(line: Uint8Array): Uint8Array[] | undefined {
  // Unquoting only shortens, so all words fit into the space of the line.
  const out = new Uint8Array(line.length);
  const words: Uint8Array[] = [];
  let length = 0;
  let at = skipSpace(line, 0);
  while (at < line.length) {
    const begin = length;
    let end = at;
    while (end < line.length && !endsWord(line[end]!)) {
      const byte = line[end]!;
      if (byte === DOUBLE_QUOTE || byte === SINGLE_QUOTE) {
        const quoted: Quoted =
          byte === DOUBLE_QUOTE ? doubleQuoted(line, end, out, length) : singleQuoted(line, end, out, length);
        if (quoted === undefined) return undefined;
        [end, length] = quoted;
        break;
      }
      out[length++] = byte;
      end++;
    }
    words.push(out.subarray(begin, length));
    at = skipSpace(line, end);
  }
  return words;
}

/** Where to go on in the line and in the output; undefined when the quote is not closed, or not at a word's end. */
type Quoted = [at: number, length: number] | undefined;

/** From the double quote at `from` to behind its partner. */
function doubleQuoted(line: Uint8Array, from: number, out: Uint8Array, start: number): Quoted {
  let length = start;
  for (let at = from + 1; at < line.length; at++) {
    const byte = line[at]!;
    if (byte === DOUBLE_QUOTE) return closed(line, at, length);
    if (byte !== BACKSLASH || at + 1 === line.length) {
      out[length++] = byte;
      continue;
    }
    const hex = line[at + 1] === X ? hexByte(line, at + 2) : undefined;
    out[length++] = hex ?? ESCAPES.get(line[at + 1]!) ?? line[at + 1]!;
    at += hex === undefined ? 1 : 3;
  }
  return undefined;
}

/** From the single quote at `from` to behind its partner. */
function singleQuoted(line: Uint8Array, from: number, out: Uint8Array, start: number): Quoted {
  let length = start;
  for (let at = from + 1; at < line.length; at++) {
    const byte = line[at]!;
    if (byte === SINGLE_QUOTE) return closed(line, at, length);
    const escaped = byte === BACKSLASH && line[at + 1] === SINGLE_QUOTE;
    if (escaped) at++;
    out[length++] = escaped ? SINGLE_QUOTE : byte;
  }
  return undefined;
}

function closed(line: Uint8Array, at: number, length: number): Quoted {
  return at + 1 === line.length || isSpace(line[at + 1]!) ? [at + 1, length] : undefined;
}

function hexByte(line: Uint8Array, at: number): number | undefined {
  const high = hexDigit(line[at]);
  const low = hexDigit(line[at + 1]);
  return high === undefined || low === undefined ? undefined : high * 16 + low;
}

function hexDigit(byte: number | undefined): number | undefined {
  if (byte === undefined) return undefined;
  if (byte >= 48 && byte <= 57) return byte - 48;
  const letter = byte | 32;
  return letter >= 97 && letter <= 102 ? letter - 87 : undefined;
}

function skipSpace(line: Uint8Array, from: number): number {
  let at = from;
  while (at < line.length && isSpace(line[at]!)) at++;
  return at;
}

/** C's isspace: space, \t \n \v \f \r. */
function isSpace(byte: number): boolean {
  return byte === 32 || (byte >= 9 && byte <= 13);
}

function endsWord(byte: number): boolean {
  return byte === 32 || byte === 9 || byte === 10 || byte === 13;
}

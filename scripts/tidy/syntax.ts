/** What the rules want to know of a file's syntax, read off its tokens: its imports, and its functions. */
import { matchBrackets, type Token } from './tokens.ts';

export interface Import {
  readonly specifier: string;
  readonly line: number;
  /**
   * The names in braces, as the other module calls them; undefined when all of it is taken (`* as`,
   * `import()`).
   */
  readonly names: readonly string[] | undefined;
  /** `export ... from`. */
  readonly reexport: 'all' | 'named' | undefined;
  /** Of the whole statement: [first, last]. */
  readonly tokens: readonly [number, number];
}

export function findImports(tokens: readonly Token[]): Import[] {
  const imports: Import[] = [];
  for (let i = 0; i < tokens.length; i++) {
    if (!isWord(tokens[i], 'import', 'export', 'require') || isProperty(tokens, i)) continue;
    const found = tokens[i]!.text === 'require' ? readCall(tokens, i) : readImport(tokens, i);
    if (found === undefined) continue;
    imports.push(found);
    i = found.tokens[1];
  }
  return imports;
}

function readImport(tokens: readonly Token[], start: number): Import | undefined {
  const exporting = tokens[start]!.text === 'export';
  let at = start + 1;
  if (!exporting && tokens[at]?.text === '(' && tokens[at]?.kind === 'punctuation')
    return readCall(tokens, start);
  if (!exporting && tokens[at]?.kind === 'string') return statement(tokens, start, at, undefined);
  if (isWord(tokens[at], 'type')) at++;
  if (exporting && tokens[at]?.text !== '*' && tokens[at]?.text !== '{') return undefined;
  // Everything up to `from` is names; anything else means that this is no import.
  while (at < tokens.length && !(isWord(tokens[at], 'from') && tokens[at + 1]?.kind === 'string')) {
    const { kind, text } = tokens[at]!;
    if (kind !== 'word' && !['{', '}', ',', '*'].includes(text)) return undefined;
    at++;
  }
  if (at >= tokens.length) return undefined;
  const between = tokens.slice(start + 1, at);
  const all = between.some(({ text }) => text === '*');
  return statement(tokens, start, at + 1, exporting ? (all ? 'all' : 'named') : undefined);
}

/** `import('x')` and `require('x')`. */
function readCall(tokens: readonly Token[], start: number): Import | undefined {
  if (tokens[start + 1]?.text !== '(' || tokens[start + 2]?.kind !== 'string') return undefined;
  return statement(tokens, start, start + 2, undefined);
}

function statement(
  tokens: readonly Token[],
  first: number,
  last: number,
  reexport: Import['reexport'],
): Import {
  const { text, line } = tokens[last]!;
  const inside = tokens.slice(first + 1, last);
  const names = inside.some(({ text }) => text === '{') ? importedNames(inside) : undefined;
  return { specifier: text, line, names, reexport, tokens: [first, last] };
}

/** Of `{ a, type b, c as d }`: a, b, c. */
function importedNames(tokens: readonly Token[]): string[] {
  const names: string[] = [];
  tokens.forEach((token, i) => {
    const before = tokens[i - 1]?.text ?? '';
    const startsItem = ['{', ','].includes(before) || (before === 'type' && tokens[i - 2]?.text !== 'as');
    if (token.kind === 'word' && startsItem && token.text !== 'type') names.push(token.text);
  });
  return names;
}

export function isWord(token: Token | undefined, ...words: string[]): boolean {
  return token?.kind === 'word' && words.includes(token.text);
}

/** Whether the word at `i` names a member (`a.process`, `{ process: 1 }`) and not the thing itself. */
export function isProperty(tokens: readonly Token[], i: number): boolean {
  const before = tokens[i - 1]?.text;
  if (before === '.' || before === '?.') return tokens[i - 2]?.text !== '.';
  return tokens[i + 1]?.text === ':' && ['{', ',', ';', 'readonly'].includes(before ?? '');
}

/** Lines that a function's body spans, with the line where it begins. */
export interface Body {
  readonly line: number;
  readonly lines: number;
}

const BLOCK_STATEMENTS = ['if', 'for', 'while', 'switch', 'catch', 'with', 'await'];

export function findBodies(tokens: readonly Token[]): Body[] {
  const partners = matchBrackets(tokens);
  const starts = new Set<number>();
  tokens.forEach(({ kind, text }, i) => {
    if (kind !== 'punctuation') return;
    if (text === '=>' && isOpenBrace(tokens[i + 1])) starts.add(i + 1);
    if (text !== ')' || isWord(tokens[(partners.get(i) ?? 0) - 1], ...BLOCK_STATEMENTS)) return;
    if (isOpenBrace(tokens[i + 1])) starts.add(i + 1);
    if (tokens[i + 1]?.text !== ':') return;
    const body = skipReturnType(tokens, partners, i + 2);
    if (body !== undefined) starts.add(body);
  });
  return [...starts].map((start) => {
    const { line } = tokens[start]!;
    return { line, lines: tokens[partners.get(start) ?? start]!.line - line + 1 };
  });
}

function isOpenBrace(token: Token | undefined): boolean {
  return token?.kind === 'punctuation' && token.text === '{';
}

/**
 * The index of the `{` behind the type that begins at `at`; undefined when something else follows the type.
 */
function skipReturnType(
  tokens: readonly Token[],
  partners: ReadonlyMap<number, number>,
  at: number,
): number | undefined {
  let angles = 0;
  for (let i = at; i < tokens.length; i++) {
    const { kind, text } = tokens[i]!;
    if (kind !== 'punctuation') continue;
    if (text === '{') {
      // An object type begins the type or follows an operator in it; the body follows a whole type.
      const inType = i === at || [':', '|', '&', '<', ',', 'is', 'extends'].includes(tokens[i - 1]!.text);
      if (!inType) return i;
    }
    if (['{', '(', '['].includes(text)) i = partners.get(i) ?? i;
    else if (text === '<') angles++;
    else if (text === '>') angles--;
    else if (['=>', ';', ')', ']', '}', '=', '?'].includes(text) || (text === ',' && angles === 0))
      return undefined;
  }
  return undefined;
}

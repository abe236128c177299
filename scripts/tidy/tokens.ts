/**
 * A light tokenizer for TypeScript: enough to tell code from comments, strings and regular expressions, and
 * to match brackets. (TypeScript 7's compiler is a native program without a JavaScript interface to its
 * syntax tree.)
 *
 * Operators come one character at a time, but for `=>` and `?.`; `<` and `>` are left to the reader.
 */

export interface Token {
  readonly kind: 'word' | 'number' | 'string' | 'regexp' | 'punctuation';
  /** Of a string: its content, quotes taken off, escapes as written. */
  readonly text: string;
  /** From 1. */
  readonly line: number;
}

export interface Comment {
  readonly text: string;
  readonly line: number;
}

export interface Source {
  readonly tokens: readonly Token[];
  readonly comments: readonly Comment[];
}

/** After these a slash begins a regular expression and is no division. */
const BEFORE_EXPRESSION = new Set([
  'return',
  'typeof',
  'case',
  'in',
  'of',
  'delete',
  'void',
  'throw',
  'await',
  'else',
]);

const SPACE = /\s+/y;
const LINE_COMMENT = /\/\/[^\n]*|^#![^\n]*/y;
const BLOCK_COMMENT = /\/\*[\s\S]*?\*\//y;
const WORD = /[#@]?[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*/uy;
const NUMBER = /\d[\w.]*/y;
const QUOTED = /'(?:[^'\\\n]|\\[\s\S])*'|"(?:[^"\\\n]|\\[\s\S])*"/y;
const REGEXP = /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y;
const TEMPLATE_PIECE = /(?:[^`\\$]|\\[\s\S]|\$(?!\{))*(?:`|\$\{)/y;
const PUNCTUATION = /=>|\?\.|[\s\S]/y;

export function tokenize(text: string): Source {
  return new Tokenizer(text).run();
}

class Tokenizer {
  readonly #text: string;
  #at = 0;
  #line = 1;
  readonly #tokens: Token[] = [];
  readonly #comments: Comment[] = [];
  /** Per open `${` the number of braces open inside it. */
  readonly #templates: number[] = [];

  constructor(text: string) {
    this.#text = text;
  }

  run(): Source {
    while (this.#at < this.#text.length) this.#step();
    return { tokens: this.#tokens, comments: this.#comments };
  }

  #step(): void {
    if (this.#take(SPACE) !== undefined) return;
    const line = this.#line;
    const comment = this.#take(LINE_COMMENT) ?? this.#take(BLOCK_COMMENT);
    if (comment !== undefined) {
      this.#comments.push({ text: comment, line });
      return;
    }
    const quoted = this.#take(QUOTED);
    if (quoted !== undefined) this.#push('string', quoted.slice(1, -1), line);
    else if (this.#push('word', this.#take(WORD), line)) return;
    else if (this.#push('number', this.#take(NUMBER), line)) return;
    else if (this.#slashBeginsRegexp() && this.#push('regexp', this.#take(REGEXP), line)) return;
    else this.#punctuation(this.#take(PUNCTUATION)!, line);
  }

  #punctuation(text: string, line: number): void {
    const depth = this.#templates.length - 1;
    if (text === '`') this.#template(line);
    else if (text === '}' && this.#templates[depth] === 0) {
      this.#templates.pop();
      this.#push('punctuation', ')', line);
      this.#template(line);
    } else {
      if (text === '{' && depth >= 0) this.#templates[depth]!++;
      if (text === '}' && depth >= 0) this.#templates[depth]!--;
      this.#push('punctuation', text, line);
    }
  }

  /**
   * The text of a template up to its end or its next expression, which is given as if it stood in
   * parentheses.
   */
  #template(line: number): void {
    const piece = this.#take(TEMPLATE_PIECE) ?? '';
    this.#push('string', piece.replace(/`$|\$\{$/, ''), line);
    if (!piece.endsWith('${')) return;
    this.#push('punctuation', '(', this.#line);
    this.#templates.push(0);
  }

  #slashBeginsRegexp(): boolean {
    if (this.#text[this.#at] !== '/') return false;
    const before = this.#tokens.at(-1);
    if (before === undefined) return true;
    if (before.kind === 'word') return BEFORE_EXPRESSION.has(before.text);
    return before.kind === 'punctuation' && ![')', ']', '}'].includes(before.text);
  }

  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const taken = pattern.exec(this.#text)?.[0];
    if (taken === undefined) return undefined;
    this.#at += taken.length;
    for (const character of taken) if (character === '\n') this.#line++;
    return taken;
  }

  #push(kind: Token['kind'], text: string | undefined, line: number): boolean {
    if (text === undefined) return false;
    this.#tokens.push({ kind, text, line });
    return true;
  }
}

const CLOSES: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

/** For each bracket the index of its partner. */
export function matchBrackets(tokens: readonly Token[]): ReadonlyMap<number, number> {
  const partners = new Map<number, number>();
  const open: number[] = [];
  tokens.forEach(({ kind, text }, i) => {
    if (kind !== 'punctuation') return;
    if (text in CLOSES) open.push(i);
    else if ([')', ']', '}'].includes(text)) {
      const partner = open.pop();
      if (partner === undefined || CLOSES[tokens[partner]!.text] !== text) return;
      partners.set(partner, i);
      partners.set(i, partner);
    }
  });
  return partners;
}

/**
 * Makes a WebAssembly module of its text: as much of the text format as a few functions on numbers and memory need, so that
 * such code can be read where it is used and no toolchain takes part in the build.
 *
 *   (module
 *     (import "js" "memory" (memory 1))
 *     (import "js" "look" (func $look (param $at i32) (result i32)))
 *     (global $count (mut i32) (i32.const 0))
 *     (func $twice (export "twice") (param $a i32) (result i32) (local $b i64)
 *       (i32.mul (local.get $a) (i32.const 2))))
 *
 * Instructions are folded: operands stand inside, in order. `block`, `loop` and `if` have a label at most, and no result.
 * Functions have named parameters, and at most one result. The engine checks types when the module is compiled.
 *
 * After the WebAssembly core specification 2.0, chapters 5 (binary format) and 6 (text format).
 */
import { assert } from '../lib/assert.ts';

/** A word of the text, or what is between parentheses. */
type Node = string | readonly Node[];
type List = readonly Node[];

const TYPES: Readonly<Record<string, number>> = { i32: 0x7f, i64: 0x7e, v128: 0x7b };
const EMPTY = 0x40;
const END = 0x0b;
const ELSE = 0x05;
const FUNCTION_KIND = 0;
const MEMORY_KIND = 2;

/** Instructions by what follows the opcode; those beyond one byte have a prefix. */
const PLAIN: Readonly<Record<string, readonly number[]>> = {
  ...{ return: [0x0f], drop: [0x1a], select: [0x1b] },
  ...{ 'i32.eqz': [0x45], 'i32.eq': [0x46], 'i32.ne': [0x47], 'i32.lt_u': [0x49], 'i32.gt_u': [0x4b] },
  ...{
    'i32.lt_s': [0x48],
    'i32.gt_s': [0x4a],
    'i32.le_u': [0x4d],
    'i32.ge_u': [0x4f],
    'i32.ge_s': [0x4e],
    'i32.le_s': [0x4c],
  },
  ...{ 'i64.eqz': [0x50], 'i64.eq': [0x51], 'i64.ne': [0x52], 'i64.lt_u': [0x54] },
  ...{ 'i32.add': [0x6a], 'i32.sub': [0x6b], 'i32.mul': [0x6c], 'i32.and': [0x71], 'i32.or': [0x72] },
  ...{ 'i32.xor': [0x73], 'i32.shl': [0x74], 'i32.shr_s': [0x75], 'i32.shr_u': [0x76] },
  ...{ 'i64.ctz': [0x7a], 'i64.popcnt': [0x7b], 'i64.add': [0x7c], 'i64.sub': [0x7d] },
  ...{ 'i64.and': [0x83], 'i64.or': [0x84], 'i64.xor': [0x85], 'i64.shl': [0x86], 'i64.shr_u': [0x88] },
  ...{ 'i32.wrap_i64': [0xa7], 'i64.extend_i32_u': [0xad] },
  ...{ 'memory.copy': [0xfc, 10, 0, 0], 'memory.fill': [0xfc, 11, 0] },
  ...{ 'i8x16.lt_s': [0xfd, 37], 'v128.or': [0xfd, 80], 'i8x16.bitmask': [0xfd, 100] },
  ...{ 'i8x16.splat': [0xfd, 15], 'i8x16.add': [0xfd, 110] },
};
/** With an alignment, of which nothing is said, and an offset. */
const MEMORY: Readonly<Record<string, readonly number[]>> = {
  ...{ 'i32.load': [0x28], 'i64.load': [0x29], 'i32.load8_u': [0x2d], 'i32.load16_u': [0x2f] },
  ...{ 'i32.store': [0x36], 'i64.store': [0x37], 'i32.store8': [0x3a], 'v128.load': [0xfd, 0] },
};
const LOCALS: Readonly<Record<string, number>> = { 'local.get': 0x20, 'local.set': 0x21, 'local.tee': 0x22 };
const GLOBALS: Readonly<Record<string, number>> = { 'global.get': 0x23, 'global.set': 0x24 };
const BRANCHES: Readonly<Record<string, number>> = { br: 0x0c, br_if: 0x0d };

/** The module's bytes. */
export function assemble(text: string): Uint8Array<ArrayBuffer> {
  const module = parse(text);
  assert(module[0] === 'module', 'the text is a module', String(module[0]));
  const fields = (name: string) => module.slice(1).filter((each) => isList(each, name)) as List[];
  const imported = fields('import').filter((each) => isList(each[3], 'func')) as List[];
  const functions = fields('func');
  const names = [...imported.map((each) => (each[3] as List)[1]), ...functions.map((each) => each[1])];
  const scope: Scope = { functions: names, globals: fields('global').map((each) => each[1]) };
  const signatures = [...imported.map((each) => each[3] as List), ...functions];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, signatures.map(functionType)),
    ...section(
      2,
      fields('import').map((each) => importOf(each, imported.indexOf(each))),
    ),
    ...section(
      3,
      functions.map((_, i) => unsigned(imported.length + i)),
    ),
    ...section(
      6,
      fields('global').map((each) => globalOf(each, scope)),
    ),
    ...section(
      7,
      functions.flatMap((each, i) => exportOf(each, imported.length + i)),
    ),
    ...section(
      10,
      functions.map((each) => sized(functionBody(each, scope))),
    ),
  ]);
}

interface Scope {
  readonly functions: readonly (Node | undefined)[];
  readonly globals: readonly (Node | undefined)[];
}

function parse(text: string): List {
  const words = text.replace(/;;.*/g, '').match(/[()]|"[^"]*"|[^\s()"]+/g) ?? [];
  let at = 0;
  const list = (): List => {
    const nodes: Node[] = [];
    for (;;) {
      const word = words[at++];
      assert(word !== undefined, 'every parenthesis is closed');
      if (word === ')') return nodes;
      nodes.push(word === '(' ? list() : word);
    }
  };
  assert(words[at++] === '(', 'a module begins with a parenthesis');
  return list();
}

function isList(node: Node | undefined, name: string): node is List {
  return typeof node === 'object' && node[0] === name;
}

function section(id: number, entries: readonly (readonly number[])[]): number[] {
  return [id, ...sized([...unsigned(entries.length), ...entries.flat()])];
}

function sized(bytes: readonly number[]): number[] {
  return [...unsigned(bytes.length), ...bytes];
}

function name(quoted: Node | undefined): number[] {
  return sized([...String(quoted).slice(1, -1)].map((each) => each.charCodeAt(0)));
}

/** Names and types of parameters, or of locals: `(param $a i32)`, one each. */
function variables(field: List, kind: 'param' | 'local'): { readonly name: Node; readonly type: number }[] {
  return field
    .filter((each) => isList(each, kind))
    .map((each) => ({ name: (each as List)[1]!, type: typeOf((each as List).at(-1)) }));
}

function typeOf(node: Node | undefined): number {
  const type = TYPES[String(node)];
  assert(type !== undefined, 'there is such a type', String(node));
  return type;
}

function functionType(field: List): number[] {
  const result = field.find((each) => isList(each, 'result')) as List | undefined;
  const parameters = variables(field, 'param').map(({ type }) => type);
  return [0x60, ...sized(parameters), ...sized(result === undefined ? [] : [typeOf(result[1])])];
}

function importOf([, module, field, what]: List, type: number): number[] {
  const kind =
    type >= 0 ? [FUNCTION_KIND, ...unsigned(type)] : [MEMORY_KIND, 0, ...unsigned(Number((what as List)[1]))];
  return [...name(module), ...name(field), ...kind];
}

function exportOf(field: List, number: number): number[][] {
  const exported = field.find((each) => isList(each, 'export')) as List | undefined;
  return exported === undefined ? [] : [[...name(exported[1]), FUNCTION_KIND, ...unsigned(number)]];
}

/** `(global $name (mut TYPE) (TYPE.const VALUE))` */
function globalOf([, , type, initial]: List, scope: Scope): number[] {
  const body = new Body([], scope);
  body.instruction(initial!);
  return [typeOf((type as List)[1]), 1, ...body.code, END];
}

function functionBody(field: List, scope: Scope): number[] {
  const locals = variables(field, 'local');
  const known = [...variables(field, 'param'), ...locals].map((each) => each.name);
  const header = ['param', 'result', 'local', 'export'];
  const body = new Body(known, scope);
  for (const each of field.slice(2)) if (!header.some((kind) => isList(each, kind))) body.instruction(each);
  return [...unsigned(locals.length), ...locals.flatMap(({ type }) => [1, type]), ...body.code, END];
}

class Body {
  readonly code: number[] = [];
  readonly #locals: readonly Node[];
  readonly #scope: Scope;
  /** Of the blocks around, the innermost first. */
  readonly #labels: (Node | undefined)[] = [];

  constructor(locals: readonly Node[], scope: Scope) {
    this.#locals = locals;
    this.#scope = scope;
  }

  instruction(node: Node): void {
    assert(typeof node === 'object', 'an instruction stands in parentheses', String(node));
    const word = String(node[0]);
    if (word === 'block' || word === 'loop')
      return this.#block(word === 'block' ? 0x02 : 0x03, node.slice(1));
    if (word === 'if') return this.#if(node);
    for (let i = 1; i < node.length; i++) if (typeof node[i] === 'object') this.instruction(node[i]!);
    const immediate = typeof node[1] === 'string' ? node[1] : '';
    this.code.push(...this.#opcode(word, immediate));
  }

  #opcode(word: string, immediate: string): readonly number[] {
    if (PLAIN[word] !== undefined) return PLAIN[word];
    if (MEMORY[word] !== undefined) {
      return [...MEMORY[word], 0, ...unsigned(Number(immediate.replace('offset=', '')))];
    }
    if (word === 'i32.const') return [0x41, ...signed(BigInt(immediate))];
    if (word === 'i64.const') return [0x42, ...signed(BigInt(immediate))];
    if (word === 'call') return [0x10, ...unsigned(find(this.#scope.functions, immediate))];
    if (LOCALS[word] !== undefined) return [LOCALS[word], ...unsigned(find(this.#locals, immediate))];
    if (GLOBALS[word] !== undefined) {
      return [GLOBALS[word], ...unsigned(find(this.#scope.globals, immediate))];
    }
    if (BRANCHES[word] !== undefined) return [BRANCHES[word], ...unsigned(find(this.#labels, immediate))];
    throw new Error(`there is no instruction ${word}`);
  }

  #block(opcode: number, rest: List): void {
    const label = typeof rest[0] === 'string' ? rest[0] : undefined;
    this.code.push(opcode, EMPTY);
    this.#inside(label, label === undefined ? rest : rest.slice(1));
    this.code.push(END);
  }

  /** `(if CONDITION (then ...) (else ...))` */
  #if([, condition, then, otherwise]: List): void {
    this.instruction(condition!);
    this.code.push(0x04, EMPTY);
    this.#inside(undefined, (then as List).slice(1));
    if (otherwise !== undefined) {
      this.code.push(ELSE);
      this.#inside(undefined, (otherwise as List).slice(1));
    }
    this.code.push(END);
  }

  #inside(label: Node | undefined, code: List): void {
    this.#labels.unshift(label);
    for (const each of code) this.instruction(each);
    this.#labels.shift();
  }
}

function find(names: readonly (Node | undefined)[], subject: string): number {
  const number = names.indexOf(subject);
  assert(number >= 0, 'what is named is there', subject);
  return number;
}

/** LEB128. */
function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

function signed(value: bigint): number[] {
  const low = Number(value & 0x7fn);
  const rest = value >> 7n;
  const isLast = (rest === 0n && low < 0x40) || (rest === -1n && low >= 0x40);
  return isLast ? [low] : [low | 0x80, ...signed(rest)];
}

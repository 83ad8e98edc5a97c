/** The grammar of the EDL language: one file to its declarations. */
import type {
  EdlAttributes,
  EdlBasicName,
  EdlEnum,
  EdlFile,
  EdlImport,
  EdlTrustedFunction,
  EdlType,
  EdlTypeDefinition,
  EdlUntrustedFunction,
  EdlVariable,
} from './ast.js';
import { typeText } from './ast.js';
import {
  type AttributeToken,
  checkMemberAttributes,
  checkParameterAttributes,
  checkParameterType,
  collectAttributes,
  findRemoved,
  isVoid,
  NO_ATTRIBUTES,
} from './attributes.js';
import type { Token } from './lexer.js';
import type { EdlLimits } from './limits.js';
import { type PreprocessOptions, preprocess } from './preprocess.js';
import { EdlError, type EdlSource, type Span } from './source.js';

type Mutable<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer I)[] ? I[] : T[K] };

const FIXED = new Set(
  'float double int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t size_t wchar_t void char int'.split(
    ' ',
  ),
);
const CONVENTIONS = new Set(['cdecl', 'stdcall', 'fastcall']);

/** What parsing a file depends on. */
export interface ParseFileOptions extends PreprocessOptions {
  /** Lets removed attributes through, noted at what they stand before. */
  readonly allowRemoved: boolean;
}

/**
 * Parses one file without following its imports.
 * @throws EDL_SYNTAX, EDL_ATTRIBUTE, EDL_REMOVED, EDL_DECLARATION, EDL_IMPORT, EDL_LIMIT; all {@link EdlError}
 */
export function parseFile(source: EdlSource, options: ParseFileOptions): EdlFile {
  return new Parser(source, options).file();
}

class Parser {
  readonly #source: EdlSource;
  readonly #limits: EdlLimits;
  readonly #tokens: Token[];
  readonly #allowRemoved: boolean;
  #at = 0;

  constructor(source: EdlSource, options: ParseFileOptions) {
    this.#source = source;
    this.#limits = options.limits;
    this.#allowRemoved = options.allowRemoved;
    this.#tokens = preprocess(source, options);
  }

  file(): EdlFile {
    const base = this.#source.file.replace(/^.*[/\\]/s, '');
    const first = this.#peek();
    const file: Mutable<EdlFile> = {
      file: this.#source.file,
      name: base.replace(/\.[^.]*$/, ''),
      includes: [],
      trustedIncludes: [],
      untrustedIncludes: [],
      imports: [],
      types: [],
      trusted: [],
      untrusted: [],
      span: first,
    };
    this.#expect('enclave', 'at the start of the file');
    this.#expect('{', "after 'enclave'");
    while (!this.#accept('}')) this.#declaration(file);
    this.#expect(';', "after the '}' of the enclave");
    if (this.#peek().kind !== 'end') throw this.#unexpected('the end of the file');
    return file;
  }

  #declaration(file: Mutable<EdlFile>): void {
    const token = this.#peek();
    switch (token.kind === 'keyword' ? token.text : '') {
      case 'include':
        this.#push(file.includes, this.#include(), token);
        return;
      case 'from':
        this.#push(file.imports, this.#import(), token);
        return;
      case 'struct':
      case 'union':
      case 'enum':
        this.#push(file.types, this.#definition(), token);
        return;
      case 'trusted':
        this.#section(file.trustedIncludes, () => this.#push(file.trusted, this.#trusted(), this.#peek()));
        return;
      case 'untrusted':
        this.#section(file.untrustedIncludes, () =>
          this.#push(file.untrusted, this.#untrusted(), this.#peek()),
        );
        return;
      default:
        throw this.#unexpected("'include', 'from', 'struct', 'union', 'enum', 'trusted', 'untrusted' or '}'");
    }
  }

  #include(): string {
    this.#expect('include');
    return this.#kind('string', 'the name of a header in quotes').text;
  }

  #import(): EdlImport {
    const start = this.#expect('from');
    const path = this.#kind('string', 'the name of an EDL file in quotes');
    this.#expect('import', 'after the name of the file');
    const names = this.#accept('*') ? undefined : this.#names("a function's name or '*'");
    this.#expect(';', 'after the import');
    if (path.text === '') throw new EdlError('EDL_IMPORT', 'the import names no file', path);
    return { path: path.text, names, span: { ...start, end: path.end } };
  }

  #names(expected: string): { name: string; span: Span }[] {
    const list: { name: string; span: Span }[] = [];
    do {
      const token = this.#kind('identifier', expected);
      this.#push(list, { name: token.text, span: token }, token);
    } while (this.#accept(','));
    return list;
  }

  #section(includes: string[], next: () => void): void {
    const { text } = this.#take();
    this.#expect('{', `after '${text}'`);
    while (this.#is('include')) this.#push(includes, this.#include(), this.#peek());
    while (!this.#accept('}')) {
      if (this.#is('include'))
        throw new EdlError('EDL_SYNTAX', "'include' comes before the functions of its section", this.#peek());
      next();
    }
    this.#expect(';', `after the '}' of '${text}'`);
  }

  #definition(): EdlTypeDefinition {
    const { text: kind } = this.#take();
    if (kind === 'enum') return this.#enum();
    const name = this.#kind('identifier', `the name of the ${kind}`);
    this.#expect('{', `after the name of the ${kind}`);
    const members: EdlVariable[] = [];
    do {
      if (this.#is('}')) throw this.#unexpected(`a member of the ${kind}`);
      this.#push(members, this.#member(kind), this.#peek());
      this.#expect(';', 'after the member');
    } while (!this.#accept('}'));
    this.#expect(';', `after the '}' of the ${kind}`);
    return { kind: kind === 'union' ? 'union' : 'struct', name: name.text, members, span: name };
  }

  #enum(): EdlEnum {
    const name = this.#peek().kind === 'identifier' ? this.#take() : undefined;
    const open = this.#expect('{', "after 'enum'");
    const constants: EdlEnum['constants'][number][] = [];
    if (!this.#is('}'))
      do {
        const token = this.#kind('identifier', "a constant's name");
        const value = this.#accept('=') ? this.#extent() : undefined;
        this.#push(constants, { name: token.text, value, span: token }, token);
      } while (this.#accept(','));
    this.#expect('}', 'after the constants');
    this.#expect(';', "after the '}' of the enum");
    return { kind: 'enum', name: name?.text, constants, span: name ?? open };
  }

  #member(kind: string): EdlVariable {
    const bracket = this.#peek();
    const list = kind === 'struct' && this.#is('[') ? this.#attributes() : undefined;
    if (kind === 'union' && this.#is('['))
      throw new EdlError('EDL_ATTRIBUTE', 'members of a union cannot have attributes', bracket);
    const type = this.#type();
    const { name, dimensions } = this.#declarator('member');
    if (isVoid(type))
      throw new EdlError('EDL_DECLARATION', `the member '${name.text}' has the type void`, name);
    let attributes: EdlAttributes | undefined;
    const removed = this.#removed(list);
    if (removed !== undefined) return { name: name.text, type, dimensions, removed, span: name };
    if (list !== undefined) {
      attributes = collectAttributes(list);
      checkMemberAttributes(attributes, type, dimensions, bracket);
    }
    return { name: name.text, type, dimensions, attributes, span: name };
  }

  #trusted(): EdlTrustedFunction {
    const isPublic = this.#accept('public');
    if (this.#is('['))
      throw new EdlError('EDL_ATTRIBUTE', 'trusted functions have no attributes', this.#peek());
    const head = this.#function();
    const switchless = this.#accept('transition_using_threads');
    for (const word of ['allow', 'propagate_errno'])
      if (this.#is(word))
        throw new EdlError('EDL_SYNTAX', `'${word}' is for untrusted functions, expected ';'`, this.#peek());
    this.#expect(';', 'after the function');
    return { kind: 'trusted', ...head, isPublic, switchless };
  }

  #untrusted(): EdlUntrustedFunction {
    if (this.#is('public'))
      throw new EdlError('EDL_SYNTAX', "'public' is for trusted functions, expected a type", this.#peek());
    let convention: EdlUntrustedFunction['convention'];
    let dllimport = false;
    if (this.#is('['))
      for (const { key, value, span } of this.#attributes()) {
        if (value !== undefined) throw new EdlError('EDL_ATTRIBUTE', `'${key}' takes no value`, span);
        if (CONVENTIONS.has(key)) {
          if (convention !== undefined)
            throw new EdlError('EDL_ATTRIBUTE', `'${key}' contradicts '${convention}'`, span);
          convention = key as EdlUntrustedFunction['convention'];
        } else if (key === 'dllimport') {
          if (dllimport) throw new EdlError('EDL_ATTRIBUTE', "'dllimport' appears twice", span);
          dllimport = true;
        } else
          throw new EdlError(
            'EDL_ATTRIBUTE',
            `'${key}' is not an attribute of a function, expected cdecl, stdcall, fastcall or dllimport`,
            span,
          );
      }
    const head = this.#function();
    let allow: { name: string; span: Span }[] = [];
    if (this.#accept('allow')) {
      this.#expect('(', "after 'allow'");
      if (!this.#is(')')) allow = this.#names("an ECALL's name");
      this.#expect(')', 'after the allowed ECALLs');
    }
    let propagateErrno = this.#accept('propagate_errno');
    const switchless = this.#accept('transition_using_threads');
    if (switchless && !propagateErrno) propagateErrno = this.#accept('propagate_errno');
    this.#expect(';', 'after the function');
    return { kind: 'untrusted', ...head, allow, propagateErrno, switchless, convention, dllimport };
  }

  #function(): Pick<EdlUntrustedFunction, 'name' | 'returns' | 'parameters' | 'span'> {
    const returns = this.#type();
    if (this.#is('['))
      throw new EdlError(
        'EDL_DECLARATION',
        'a function cannot return an array',
        this.#peek(),
        'Return a pointer.',
      );
    const name = this.#kind('identifier', "the function's name");
    this.#expect('(', "after the function's name");
    const parameters: EdlVariable[] = [];
    const onlyVoid = this.#is('void') && this.#tokens[this.#at + 1].text === ')';
    if (onlyVoid) this.#take();
    else if (!this.#is(')'))
      do this.#push(parameters, this.#parameter(), this.#peek());
      while (this.#accept(','));
    this.#expect(')', "after the parameters, or ','");
    return { name: name.text, returns, parameters, span: name };
  }

  #parameter(): EdlVariable {
    const bracket = this.#peek();
    const list = this.#is('[') ? this.#attributes() : undefined;
    const constant = this.#accept('const');
    const type = this.#type();
    if (constant && type.kind !== 'pointer') throw this.#unexpected("'*' (const is for pointers)");
    const { name, dimensions } = this.#declarator('parameter');
    if (isVoid(type))
      throw new EdlError('EDL_DECLARATION', `the parameter '${name.text}' has the type void`, name);
    const removed = this.#removed(list);
    if (removed !== undefined) return { name: name.text, type, dimensions, removed, span: name };
    const collected = list === undefined ? NO_ATTRIBUTES : collectAttributes(list);
    const byAddress =
      type.kind === 'pointer' ||
      dimensions.length > 0 ||
      (type.kind === 'foreign' && (collected.isptr || collected.isary));
    const span = list === undefined ? name : bracket;
    if (list === undefined && !byAddress) return { name: name.text, type, dimensions, span: name };
    checkParameterAttributes(collected, span);
    checkParameterType(collected, type, dimensions, constant, name.text, span);
    if (!byAddress)
      throw new EdlError(
        'EDL_ATTRIBUTE',
        `'${typeText(type)}' is passed by value, expected no attributes of pointers`,
        span,
        type.kind === 'foreign'
          ? "When the type is a pointer or array of a C header, add 'isptr' or 'isary'."
          : undefined,
      );
    const attributes = constant ? { ...collected, readonly: true } : collected;
    return { name: name.text, type, dimensions, attributes, span: name };
  }

  #attributes(): AttributeToken[] {
    const open = this.#expect('[');
    if (this.#is(']'))
      throw new EdlError('EDL_ATTRIBUTE', 'the brackets are empty, expected an attribute', open);
    const list: AttributeToken[] = [];
    do {
      const key = this.#kind('identifier', 'an attribute');
      const value = this.#accept('=') ? this.#extent() : undefined;
      this.#push(list, { key: key.text, value, span: key }, key);
    } while (this.#accept(','));
    this.#expect(']', "after the attributes, or ','");
    return list;
  }

  #removed(list: readonly AttributeToken[] | undefined): EdlVariable['removed'] {
    return list !== undefined && this.#allowRemoved ? findRemoved(list) : undefined;
  }

  #extent(): number | string {
    const token = this.#peek();
    if (token.kind === 'identifier') return this.#take().text;
    if (token.kind !== 'number') throw this.#unexpected('a number or a name');
    return this.#number();
  }

  #number(): number {
    const token = this.#kind('number', 'a number');
    const value = Number(token.text);
    if (!Number.isSafeInteger(value)) throw new EdlError('EDL_LIMIT', 'the number is too large', token);
    return value;
  }

  #declarator(what: string): { name: Token; dimensions: number[] } {
    const name = this.#kind('identifier', `the ${what}'s name`);
    const dimensions: number[] = [];
    let total = 1;
    while (this.#is('[')) {
      const open = this.#take();
      if (this.#is(']'))
        throw new EdlError('EDL_DECLARATION', 'an array needs its size, expected a number', open);
      const token = this.#peek();
      const value = this.#number();
      if (value === 0) throw new EdlError('EDL_DECLARATION', 'an array cannot have zero elements', token);
      total *= value;
      if (total > 2 ** 31 || dimensions.length >= this.#limits.dimensions)
        throw new EdlError('EDL_LIMIT', 'the array has too many elements or dimensions', token);
      dimensions.push(value);
      this.#expect(']', 'after the number of elements');
    }
    return { name, dimensions };
  }

  #type(): EdlType {
    let type = this.#plainType();
    for (let depth = 0; this.#is('*'); depth++) {
      if (depth >= this.#limits.pointerDepth)
        throw new EdlError(
          'EDL_LIMIT',
          `a type has more than ${this.#limits.pointerDepth} stars`,
          this.#peek(),
        );
      this.#take();
      type = { kind: 'pointer', to: type };
    }
    return type;
  }

  #plainType(): EdlType {
    const token = this.#peek();
    if (token.kind === 'identifier') return { kind: 'foreign', name: this.#take().text };
    const { text } = token;
    if (token.kind !== 'keyword') throw this.#unexpected('a type');
    if (text === 'struct' || text === 'union' || text === 'enum') {
      this.#take();
      return { kind: text, name: this.#kind('identifier', `the name of the ${text}`).text };
    }
    if (FIXED.has(text)) return { kind: 'basic', name: this.#take().text as EdlBasicName };
    if (text !== 'unsigned' && text !== 'short' && text !== 'long') throw this.#unexpected('a type');
    return { kind: 'basic', name: this.#integer() };
  }

  /** Types that begin with unsigned, short or long. */
  #integer(): EdlBasicName {
    const unsigned = this.#accept('unsigned') ? 'unsigned ' : '';
    if (unsigned !== '' && this.#accept('char')) return 'unsigned char';
    if (this.#accept('short')) {
      this.#accept('int');
      return `${unsigned}short int`;
    }
    if (this.#accept('long')) {
      if (unsigned === '' && this.#accept('double')) return 'long double';
      if (this.#accept('long')) return `${unsigned}long long`;
      this.#accept('int');
      return `${unsigned}long int`;
    }
    this.#accept('int');
    return `${unsigned}int` as EdlBasicName;
  }

  #push<T>(list: T[], item: T, span: Span): void {
    if (list.length >= this.#limits.items)
      throw new EdlError('EDL_LIMIT', `there are more than ${this.#limits.items} of one kind`, span);
    list.push(item);
  }

  #peek(): Token {
    return this.#tokens[this.#at];
  }

  #take(): Token {
    return this.#tokens[this.#at++];
  }

  #is(text: string): boolean {
    const token = this.#peek();
    return (token.kind === 'keyword' || token.kind === 'symbol') && token.text === text;
  }

  #accept(text: string): boolean {
    if (!this.#is(text)) return false;
    this.#at++;
    return true;
  }

  #expect(text: string, where = ''): Token {
    if (!this.#is(text)) throw this.#unexpected(`'${text}'${where === '' ? '' : ` ${where}`}`);
    return this.#take();
  }

  #kind(kind: Token['kind'], expected: string): Token {
    if (this.#peek().kind !== kind) throw this.#unexpected(expected);
    return this.#take();
  }

  #unexpected(expected: string): EdlError {
    const token = this.#peek();
    const what =
      token.kind === 'end'
        ? 'the end of the file'
        : token.kind === 'keyword'
          ? `the keyword '${token.text}'`
          : token.kind === 'string'
            ? 'a string'
            : `'${token.text}'`;
    const origin = token.macro === undefined ? '' : ` of the macro '${token.macro}'`;
    return new EdlError('EDL_SYNTAX', `expected ${expected}, found ${what}${origin}`, token);
  }
}
